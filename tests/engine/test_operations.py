"""Every operation of the table: the engines give the reference's codes."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from landscape.engine import Evaluator, Reference
from landscape.engine.native import Native, cover_rows
from landscape.engine.native.build import ISA_VARIABLE, instruction_sets
from landscape.engine.portable import Portable
from landscape.graph import capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import preset
from tests.engine import networks
from tests.engine.networks import assert_same_codes_together, left_to_reference, with_powers_of_two
from tests.graph.families import double_logits, relative_error
from tests.graph.operations import SIZE, STEPPED, stepped

IMAGES = 5


@functools.cache
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    names, half = tuple(str(i) for i in range(IMAGES)), (0.5, 0.5, 0.5)
    return ImageSet(pixels, torch.arange(IMAGES), names, half, half, "test", "train", 0)


@functools.cache
def quantized(name: str) -> QuantizedNetwork:
    graph = capture(stepped(name), (3, SIZE, SIZE))
    return quantize_network(graph, preset("default").with_bits("w4a8"), images(), exact_input=False)


def codes(name: str, engine: type[Reference], images_at_once: int) -> dict[str, Tensor]:
    network = quantized(name)
    evaluator = Evaluator(network, images(), (), engine, images_at_once)
    return {**evaluator.codes(network, list(network.placements), IMAGES), "logits": evaluator.logits(network)}


@pytest.mark.parametrize("engine", [Native, Portable], ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", STEPPED)
def test_codes_equal_the_reference(name: str, engine: type[Reference], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSCAPE_COMPILE", "0")
    expected = codes(name, Reference, IMAGES)
    assert torch.isfinite(expected["logits"]).all() and len(expected["logits"].unique()) > 10
    for images_at_once in (IMAGES, 2):
        found = codes(name, engine, images_at_once)
        assert [node for node in expected if not torch.equal(found[node], expected[node])] == []


NORMS = ("rms norm", "rms norm of rows", "cosine attention")


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("name", NORMS)
def test_rms_norms_with_every_instruction_set_and_extreme_scales(
    name: str, instruction_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized(name)
    outputs = [f"{node.name}.output" for node in network.graph if node.op == "rms_norm"]
    inputs = [f"{network.graph.source(n.inputs[0]).name}.output" for n in network.graph if n.op == "rms_norm"]
    for factors in ((1.0, 1.0), (1e-7, 1.0), (1e5, 1.0), (1.0, 1e-3), (1.0, 1e4)):
        both = zip((inputs, outputs), factors, strict=True)
        scales = {name: network.scale(name) * factor for group, factor in both for name in group}
        assert_same_codes_together(network.with_scales(scales), Native(network.with_scales(scales)), 3)


@pytest.mark.parametrize("name", NORMS)
def test_compiled_rms_norms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDSCAPE_COMPILE", raising=False)
    expected, found = (codes(name, engine, IMAGES) for engine in (Reference, Portable))
    assert [node for node in expected if not torch.equal(found[node], expected[node])] == []


COVERED = (
    "a value over constants by channel",
    "cosine attention",
    "factors and an activation function",
    "factors of rows",
    "negatives and halves",
    "a sum and an activation function",
    "a product and an activation function",
    "products with rows and columns",
    "joined channels",
    "joined rows before a norm",
    "interleaved",
    "rotary embedding",
    "a pool of rows",
)
"""Networks that neither engine leaves anything of to the reference."""

RESAMPLED = ("shares of a pool at the edges", "unequal windows", "bilinear", "bicubic, smoothed")


@pytest.mark.parametrize("engine", [Native, Portable], ids=lambda engine: engine.name)
@pytest.mark.parametrize("name", [*COVERED, *RESAMPLED])
def test_nothing_is_left_to_the_reference(name: str, engine: type[Reference], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSCAPE_COMPILE", "0")
    network = quantized(name)
    left = {"resample"} if engine is Portable and name in RESAMPLED else set()
    assert left_to_reference(network, engine(network), monkeypatch, images()) == left


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("name", [*COVERED, *RESAMPLED])
def test_tables_and_resampling_with_every_instruction_set(
    name: str, instruction_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    for network in (quantized(name), with_powers_of_two(quantized(name))):
        assert_same_codes_together(network, Native(network), 3)


@pytest.mark.parametrize("name", COVERED)
def test_compiled_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDSCAPE_COMPILE", raising=False)
    expected, found = (codes(name, engine, IMAGES) for engine in (Reference, Portable))
    assert [node for node in expected if not torch.equal(found[node], expected[node])] == []


def test_a_norm_of_a_whole_image_of_codes() -> None:
    """More numbers than sums of int16 squares would allow; one threshold of both engines lies between."""
    width = 3 * 128 * 128

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.head(self.norm(self.conv(x)).mean((2, 3))))

    torch.manual_seed(0)
    chosen = networks.images(2, side=128)
    graph = capture(Normed().eval(), (3, 128, 128))
    network = quantize_network(graph, preset("default").with_bits("w4a8"), chosen, exact_input=False)
    assert width > cover_rows.LARGEST_NORM
    names = list(network.activations)
    expected, found = (Evaluator(network, chosen, (), e).codes(network, names, 2) for e in (Reference, Native))
    assert all(torch.equal(found[name], expected[name]) for name in names)


@pytest.mark.parametrize("name", STEPPED)
def test_quantized_at_32_bits_the_network_is_the_float_network(name: str) -> None:
    graph = capture(stepped(name), (3, SIZE, SIZE))
    network = quantize_network(graph, preset("default").with_bits("w32a32"), images(), exact_input=False)
    found = Evaluator(network, images(), ()).logits(network)
    expected = double_logits(stepped(name), images().normalized(dtype=torch.float64))
    assert relative_error(found, expected) < 1e-12
