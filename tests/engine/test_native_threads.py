"""Several threads on one image, where there are more threads than images."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from landscape.engine.native import Native, native_available
from landscape.engine.native.build import EMULATED, ISA_VARIABLE, instruction_sets
from landscape.engine.values import as_float
from tests.engine import test_operations
from tests.engine.networks import assert_same_codes_together, images, quantized, with_powers_of_two
from tests.graph.operations import STEPPED

_AVAILABLE, _WHY = native_available()
pytestmark = [
    pytest.mark.skipif(not _AVAILABLE, reason=f"no native engine: {_WHY}"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: threads share no image"),
]


@pytest.fixture(autouse=True)
def _more_threads_than_images() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["vit", "normed_vit", "swin", "levit", "convnext", "mobilenetv3", "cnn", "resnet"])
def test_networks(name: str) -> None:
    assert_same_codes_together(quantized(name), Native(quantized(name)), 1)


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), EMULATED])
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_every_instruction_set(name: str, instruction_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    assert_same_codes_together(quantized(name), Native(quantized(name)), 1)


@pytest.mark.parametrize("name", STEPPED)
def test_operations_of_the_table(name: str) -> None:
    for network in (test_operations.quantized(name), with_powers_of_two(test_operations.quantized(name))):
        assert_same_codes_together(network, Native(network), 1)


@pytest.mark.parametrize("options", [{}, {"layer_norm": "integer", "softmax": "log2", "bias_correction": "none"}])
def test_an_image_has_the_same_codes_whoever_took_which_part(options: dict[str, str]) -> None:
    """Again and again: who takes what is chance. With two images and four threads, two of them share each."""
    network = quantized("fine_vit", "w4a8s4", **options)
    engine, nodes, keep = Native(network), list(network.graph), {network.graph.output, *network.activations}
    for count in (1, 2):
        chosen = images(count, seed=3, side=network.graph.input_shape[-1])
        given = {"input": engine.pixels(chosen, slice(0, count))}
        first = {k: as_float(v).clone() for k, v in engine.run_nodes(nodes, given, keep, count).items()}
        for _ in range(300):
            again = engine.run_nodes(nodes, given, keep, count)
            assert all(torch.equal(as_float(again[k]), v) for k, v in first.items())
