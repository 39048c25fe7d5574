"""Every operation of the table: the graph computes the very function of the module."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from landscape.engine.reference import FloatPass
from landscape.gradient.surrogate import unary
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


@pytest.mark.parametrize("name", STEPPED)
def test_the_differentiable_pass_has_the_derivatives_of_the_module(name: str) -> None:
    x, module = images(SIZE, 2).requires_grad_(True), stepped(name)
    graph = capture(module, (3, SIZE, SIZE))
    run = FloatPass(graph)
    run._operations["unary"] = unary  # as surrogates have it
    values: dict[str, Tensor] = {}
    for node in graph:
        values[node.name] = x if node.op == "input" else run.apply(node, [values[i] for i in node.inputs], 2)
    weights = torch.randn(2, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad((values[graph.output] * weights).sum(), x)
    (expected,) = torch.autograd.grad((copy.deepcopy(module).double()(x) * weights).sum(), x)
    assert relative_error(found, expected) < 1e-11
