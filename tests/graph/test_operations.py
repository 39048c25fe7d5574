"""Every operation of the table: the graph computes the very function of the module."""

from __future__ import annotations

import pytest

from landscape.graph import capture
from tests.graph.families import double_logits, graph_logits, images, relative_error
from tests.graph.operations import SIZE, STEPPED, stepped


@pytest.mark.parametrize("name", STEPPED)
def test_the_graph_gives_the_float64_logits_of_the_module(name: str) -> None:
    x, module = images(SIZE, 3), stepped(name)
    expected = double_logits(module, x)
    graph = capture(module, (3, SIZE, SIZE))
    assert relative_error(graph_logits(graph, x), expected) < 1e-12
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # images are told apart
