from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from landscape.engine.evaluator import Evaluator
from landscape.engine.native import Native, native_available
from landscape.engine.native.build import ISA_VARIABLE, instruction_sets
from landscape.engine.reference import Reference
from landscape.engine.values import Codes, Value, as_float
from landscape.graph import Node, capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import Scheme
from landscape.setup import load_problem

_AVAILABLE, _WHY = native_available()
pytestmark = pytest.mark.skipif(not _AVAILABLE, reason=f"no native engine: {_WHY}")

SIZE = 40


def random_vit(**options: Any) -> nn.Module:
    """A transformer whose sizes are no multiples of the kernels' blocks."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "img_size": SIZE,
        "patch_size": 8,
        "embed_dim": 60,
        "num_heads": 3,
        "depth": 2,
        "num_classes": 7,
    }
    vit = timm.create_model("deit_tiny_patch16_224", **{**sizes, **options})
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.2)
    return vit.eval()


class SmallCnn(nn.Module):
    """Padded, strided, dilated and depthwise convolutions with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(10, 10, 3, padding=2, dilation=2)
        self.depthwise = nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.middle(x) + x)
        x = self.pool(nn.functional.silu(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


def images(count: int, seed: int = 1) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    names = tuple(str(i) for i in range(count))
    return ImageSet(
        pixels, torch.zeros(count, dtype=torch.int64), names, (0.48,) * 3, (0.23,) * 3, "random", "val", seed
    )


def quantized(module: nn.Module, bits: str = "w4a8", exact_input: bool = False, **options: str) -> QuantizedNetwork:
    torch.manual_seed(0)
    scheme = Scheme(**options).with_bits(bits)  # type: ignore[arg-type]
    return quantize_network(capture(module, (3, SIZE, SIZE)), scheme, images(4, seed=2), exact_input)


def values(arithmetic: Reference, batch: Tensor) -> Iterator[tuple[Node, Value]]:
    found = {"input": arithmetic.input(batch)}
    yield arithmetic.graph["input"], found["input"]
    for node in arithmetic.graph:
        if node.op != "input":
            found[node.name] = arithmetic.evaluate(node, [found[name] for name in node.inputs], batch.shape[0])
            yield node, found[node.name]


def assert_same_codes(network: QuantizedNetwork, count: int = 3, native: Native | None = None) -> None:
    batch = images(count).normalized(dtype=torch.float64)
    assert_same_codes_in_plans(network, count, native)
    pairs = zip(values(Reference(network), batch), values(native or Native(network), batch), strict=True)
    for (node, expected), (_, actual) in pairs:
        if node.name in network.activations:
            assert isinstance(expected, Codes) and isinstance(actual, Codes)
            assert torch.equal(expected.integers.double(), actual.integers.double()), node.name
        assert torch.equal(as_float(expected), as_float(actual)), node.name


def assert_same_codes_in_plans(network: QuantizedNetwork, count: int = 3, native: Native | None = None) -> None:
    """Every value on its way through the plans, fused with as much as may be fused around it."""
    batch = images(count).normalized(dtype=torch.float64)
    expected = {node.name: value for node, value in values(Reference(network), batch)}
    native = native or Native(network)
    nodes, output = list(network.graph), network.graph.output
    fused = [name for name in network.activations if name.endswith((".residual", ".softmax", ".act", "norm1", "cat"))]
    for name in [output, *fused[:: max(1, len(fused) // 3)]]:
        found = native.run_nodes(nodes, {"input": native.input(batch)}, {name, output}, count)
        for kept in (name, output):
            assert torch.equal(as_float(expected[kept]), as_float(found[kept])), f"{kept} with {name} kept"


def with_powers_of_two(network: QuantizedNetwork) -> QuantizedNetwork:
    """All scales rounded to powers of two: values then lie exactly between two codes again and again."""
    return network.with_scales({n: 2.0 ** network.scale(n).log2().round() for n in network.scale_names()})


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8", "w4a8s4", "w2a3"])
@pytest.mark.parametrize("correction", ["weight", "none", "output"])
def test_codes_equal_the_reference_at_all_bit_widths(bits: str, correction: str) -> None:
    assert_same_codes(quantized(random_vit(), bits, bias_correction=correction))


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("ties", [False, True])
def test_codes_are_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, ties: bool
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized(random_vit())
    assert_same_codes(with_powers_of_two(network) if ties else network)


@pytest.mark.parametrize(
    "options",
    [
        {"residual": "tensor"},
        {"layer_norm": "integer"},
        {"softmax": "log2"},
        {"activation_observer": "percentile", "weight_observer": "minmax"},
    ],
)
def test_codes_equal_the_reference_in_other_schemes(options: dict[str, Any]) -> None:
    assert_same_codes(quantized(random_vit(), **options))


def test_codes_equal_the_reference_with_exact_input() -> None:
    assert_same_codes(quantized(random_vit(), exact_input=True))


def test_codes_equal_the_reference_with_normed_queries_and_layer_scale() -> None:
    assert_same_codes(quantized(random_vit(qk_norm=True, init_values=0.1)))


@pytest.mark.parametrize("bits", ["w8a8", "w4a8"])
def test_codes_of_a_convolutional_network_equal_the_reference(bits: str) -> None:
    torch.manual_seed(0)
    network = quantized(SmallCnn().eval(), bits)
    assert_same_codes(network)
    assert_same_codes(with_powers_of_two(network))


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_and_threads_change_no_code(count: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same_codes(quantized(random_vit()), count)
    finally:
        torch.set_num_threads(before)


def test_a_sibling_gives_the_codes_of_its_own_scales() -> None:
    network = quantized(random_vit())
    centre = Native(network)
    assert_same_codes(network, native=centre)
    generator = torch.Generator().manual_seed(0)
    for names in (["blocks.1.attn.qkv.weight"], ["blocks.0.mlp.act.output", "head.weight"], network.scale_names()):
        noise = {n: torch.randn(network.scale(n).shape, generator=generator, dtype=torch.float64) for n in names}
        moved = network.with_scales({n: network.scale(n) * torch.exp(0.05 * noise[n]) for n in names})
        assert_same_codes(moved, native=Native(moved, centre))


def test_extreme_scales_clamp_like_the_reference() -> None:
    network = quantized(random_vit())
    for factor in (1e-3, 1e3):
        scaled = {n: network.scale(n) * factor for n in network.scale_names() if n.endswith("output")}
        assert_same_codes(network.with_scales(scaled))


def test_zero_points_at_both_ends_give_the_reference_codes() -> None:
    network = quantized(random_vit(), "w8a8")
    for end in (0, 255):
        weights = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end)) for k, q in network.weights.items()
        }
        activations = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end))
            for k, q in network.activations.items()
        }
        assert_same_codes(dataclasses.replace(network, weights=weights, activations=activations))


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
def test_fifty_points_around_the_digits_network_have_the_reference_logits(bits: str) -> None:
    problem = load_problem(bits=bits, images=6, calib_images=50)
    network, nodes = problem.network, list(problem.network.graph)
    centre, generator = Native(network), torch.Generator().manual_seed(0)
    weights = [name for name in network.scale_names() if name.endswith(".weight")]
    for index in range(50):
        names = network.scale_names() if index % 10 == 0 else weights[index % len(weights) :][:2]
        noise = {n: torch.randn(network.scale(n).shape, generator=generator, dtype=torch.float64) for n in names}
        moved = network.with_scales({n: network.scale(n) * torch.exp(0.03 * noise[n]) for n in names})
        expected = Evaluator(moved, problem.images, [names[0]], Reference).logits(moved)
        native = Native(moved, centre)
        given = {"input": native.pixels(problem.images, slice(0, 6))}
        actual = native.run_nodes(nodes, given, {network.graph.output}, 6)[network.graph.output]
        assert torch.equal(as_float(actual), expected), index


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_attention_wider_than_one_register_is_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str
) -> None:
    """65 and more tokens, heads of 20, outputs that are no multiple of 64."""
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    assert_same_codes_in_plans(quantized(random_vit(patch_size=4, num_classes=70), "w8a8"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
def test_deit_tiny_has_the_reference_codes_on_real_images(shared_data: Path, bits: str) -> None:
    problem = load_problem(
        model="deit_tiny_patch16_224",
        weights=str(shared_data / "weights" / "deit_tiny_patch16_224.safetensors"),
        data=str(shared_data / "imagenet-mini"),
        resize="none",
        crop=224,
        bits=bits,
        images=3,
        calib_images=16,
    )
    network, generator = problem.network, torch.Generator().manual_seed(0)
    names = [f"blocks.{block}.attn.{part}.weight" for block in (0, 5, 11) for part in ("qkv", "proj")]
    evaluators = [Evaluator(network, problem.images, names, arithmetic) for arithmetic in (Reference, Native)]
    for _ in range(3):
        noise = {n: torch.randn(network.scale(n).shape, generator=generator, dtype=torch.float64) for n in names}
        moved = network.with_scales({n: network.scale(n) * torch.exp(0.03 * noise[n]) for n in names})
        expected, actual = (evaluator.logits(moved) for evaluator in evaluators)
        assert torch.equal(expected, actual)
