"""Convolutions and pools of any shape have the reference's codes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from landscape.engine.native import Native, native_available
from landscape.engine.native.build import EMULATED, ISA_VARIABLE, instruction_sets
from landscape.engine.native.compiling import compile_plans
from landscape.engine.native.plan import Plan
from landscape.graph import Graph, Node
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import Scheme
from tests.engine.networks import (
    assert_same_codes,
    assert_same_codes_together,
    images,
    perturbed,
    quantized,
    with_powers_of_two,
)

_AVAILABLE, _WHY = native_available()
pytestmark = pytest.mark.skipif(not _AVAILABLE, reason=f"no native engine: {_WHY}")

SIDE = 11


class Chain:
    """A graph made node by node; every node reads the one before it."""

    def __init__(self, channels: int, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._value = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64)
        self._nodes = {"input": Node("input", "input", (), "", (-1, *self._value.shape[1:]))}
        self.convolution("first", channels, (1, 1))

    def add(self, name: str, op: str, value: Tensor, weight: Tensor | None = None, **attrs: Any) -> None:
        """Append a node whose value has the shape of `value`."""
        bias = None if weight is None else self._random(weight.shape[0])
        last = next(reversed(self._nodes))
        self._nodes[name] = Node(name, op, (last,), "", (-1, *value.shape[1:]), attrs, weight, bias)
        self._value = value

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def convolution(
        self, name: str, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0), dilation: tuple[int, int] = (1, 1), groups: int = 1,
    ) -> None:  # fmt: skip
        """Append a convolution with random weights."""
        weight = self._random(outputs, self._value.shape[1] // groups, *kernel)
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        value = functional.conv2d(self._value, weight, None, stride, padding, dilation, groups)
        self.add(name, "conv2d", value, weight, **attrs)

    def activation(self, name: str, function: str) -> None:
        """Append an activation function."""
        self.add(name, "unary", self._value, function=function)

    def pad(self, name: str, padding: tuple[int, ...]) -> None:
        """Append zeros around the image."""
        self.add(name, "view", functional.pad(self._value, padding), call=functional.pad, args=(padding,))

    def quantized(self, bits: str, exact_input: bool = False, **options: str) -> QuantizedNetwork:
        """The network, calibrated on random images."""
        scheme = Scheme(**{"activation_observer": "minmax", "weight_observer": "minmax", **options})  # type: ignore[arg-type]
        graph = Graph(self._nodes, next(reversed(self._nodes)), (3, SIDE, SIDE))
        return quantize_network(graph, scheme.with_bits(bits), images(2, seed=2, side=SIDE), exact_input)


def assert_same(network: QuantizedNetwork) -> None:
    native = Native(network)
    assert_same_codes(network, native, 2)
    assert_same_codes_together(network, native, 2)


def assert_covered(network: QuantizedNetwork) -> None:
    """The network is a single plan."""
    segments = compile_plans(network, list(network.graph), {network.graph.output})
    assert len(segments) == 1 and isinstance(segments[0], Plan)


_PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from([1, 1, 2, 3, 7, 24]),
    inputs=st.sampled_from([1, 1, 2, 4, 5]),
    outputs=st.sampled_from([1, 1, 2, 3, 9]),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=_PAIRS,
    dilation=_PAIRS,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    function=st.sampled_from(["relu", "relu6", "silu", "hardswish", None]),
    bits=st.sampled_from(["w8a8", "w4a8", "w3a8"]),
    correction=st.sampled_from(["weight", "none"]),
    ties=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_convolutions_of_any_shape_have_the_reference_codes(
    groups: int, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int],
    padding: tuple[int, int], function: str | None, bits: str, correction: str, ties: bool, seed: int,
) -> None:  # fmt: skip
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if any(SIDE + 2 * p < r for p, r in zip(padding, reach, strict=True)):
        padding = (3, 3)
        kernel, dilation = (min(kernel[0], 5), min(kernel[1], 5)), (1, 1)
    chain = Chain(groups * inputs, seed)
    chain.convolution("conv", groups * outputs, kernel, stride, padding, dilation, groups)
    if function is not None:
        chain.activation("act", function)
    network = chain.quantized(bits, bias_correction=correction)
    assert_same(with_powers_of_two(network) if ties else network)
    assert_covered(network)


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), EMULATED])
@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(24, 24, 24), (70, 70, 70), (6, 18, 6), (12, 20, 2), (65, 130, 1), (10, 16, 1)]
)
def test_convolutions_are_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, channels: int, outputs: int, groups: int
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    for kernel, stride in (((3, 3), (1, 1)), ((3, 5), (2, 3)), ((1, 1), (1, 1))):
        chain = Chain(channels, 0)
        chain.convolution("conv", outputs, kernel, stride, (1, 2), (1, 1), groups)
        chain.activation("act", "relu6")
        assert_same(chain.quantized("w8a8"))


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), EMULATED])
@pytest.mark.parametrize("name", ["cnn", "mobilenet", "resnet"])
def test_convolutional_networks_are_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, name: str
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    for network in (quantized(name), with_powers_of_two(quantized(name)), quantized(name, exact_input=True)):
        assert_same_codes_together(network, Native(network), 2)


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
@pytest.mark.parametrize("name", ["cnn", "mobilenet", "resnet"])
def test_points_around_convolutional_networks_have_the_reference_codes(name: str, bits: str) -> None:
    network = quantized(name, bits)
    centre = Native(network)
    assert_same(network)
    weights = [n for n in network.scale_names() if n.endswith(".weight")]
    for index in range(8):
        names = network.scale_names() if index % 4 == 0 else weights[index % len(weights) :][:2]
        moved = perturbed(network, names, seed=index, size=0.03)
        assert_same_codes_together(moved, Native(moved, centre), 2)


@pytest.mark.parametrize("name", ["mobilenet", "resnet"])
def test_whole_networks_are_one_plan(name: str) -> None:
    assert_covered(quantized(name))
    assert_covered(quantized(name, exact_input=True))


@settings(max_examples=20, deadline=None)
@given(
    channels=st.sampled_from([1, 5, 64, 70]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=_PAIRS,
    largest=st.booleans(),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_pools_of_any_shape_have_the_reference_codes(
    channels: int, kernel: tuple[int, int], stride: tuple[int, int], largest: bool, pads: tuple[int, ...], seed: int
) -> None:
    chain = Chain(channels, seed)
    chain.pad("pad", pads) if any(pads) else None
    padding = (kernel[0] // 2, kernel[1] // 2)
    if largest:
        args = (kernel, stride, padding, (1, 1), False)
        chain.add("pool", "max_pool2d", functional.max_pool2d(chain._value, *args), args=args)
    else:
        value = functional.avg_pool2d(chain._value, kernel, stride, padding)
        chain.add("pool", "avg_pool2d", value, kernel=kernel, stride=stride, padding=padding)
    chain.convolution("last", 5, (1, 1))
    chain.add("mean", "mean", torch.zeros(1, 5), dims=(2, 3), keepdim=False)
    network = chain.quantized("w4a8")
    assert_same(network)
    assert_covered(network)


@settings(max_examples=15, deadline=None)
@given(
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    groups=st.sampled_from([1, 12]),
    exact=st.booleans(),
    function=st.sampled_from(["relu", "gelu"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_zeros_around_images_and_exact_images_have_the_reference_codes(
    pads: tuple[int, ...], groups: int, exact: bool, function: str, seed: int
) -> None:
    chain = Chain(12, seed)
    chain.pad("pad", (*pads, 2, 1) if groups == 1 else pads)
    chain.convolution("conv", 12, (3, 2), (2, 1), (1, 0), (1, 1), groups)
    chain.activation("act", function)
    network = chain.quantized("w4a8", exact_input=exact)
    assert_same(network)
    assert_covered(network)
