"""The differentiable pass: the quantized network around given codes, from the first moving scale on.

The codes come from the exact engine. So the value of the pass is the network's own, in float32 as in float64, and only
derivatives are computed in the pass's number type; no flipped code spreads through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.native.values import RawCodes
from landscape.engine.reference import FloatPass
from landscape.engine.values import Codes, Value
from landscape.gradient.straight_through import Anchors, Estimator, Follow, effective_weight, follow_from, followed
from landscape.graph import Graph, Node
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork

UNARY: dict[str, Callable[..., Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "mish": functional.mish,
    "exp": torch.exp,
    "abs": torch.abs,
    "square": torch.square,
    "sqrt": lambda x: x.clamp_min(0.0).sqrt(),
    "rsqrt": lambda x: x.clamp_min(0.0).rsqrt(),
    "reciprocal": lambda x: torch.reciprocal(x + 0.0),
    "clamp": lambda x, low, high: x.clamp(low, high),
}
"""Activation functions that PyTorch can differentiate, by the names of the graph."""


PIXELS = "#pixels"
"""Under this name stand the images before they are quantized, where the scale of their own quantizer may move."""


class Surrogate(FloatPass):
    """The quantized network as a differentiable function of the scales that may move.

    Args:
        network: The centre, from which candidates differ.
        changing: Names of the nodes whose values depend on a moving scale.
        names: Of the moving scales.
        dtype: float64, or float32 for speed.
    """

    def __init__(
        self, network: QuantizedNetwork, changing: set[str], names: tuple[str, ...], dtype: torch.dtype
    ) -> None:
        super().__init__(cast_graph(network.graph, dtype, network.biases))
        self.dtype = dtype
        self.names = frozenset(names)
        self._nodes = [node for node in self.graph if node.name in changing]
        self._fixed = {
            node.name: network.operand(node.name).dequantized().to(dtype)
            for node in self._nodes
            if node.name in network.weights and f"{node.name}.weight" not in self.names
        }
        self._weights: dict[str, Tensor] = {}
        self._operations["unary"] = unary
        self.quantized = {
            node.name for node in self._nodes if node.name in network.activations or node.name in network.placements
        }

    def weight(self, node: Node) -> Tensor:
        """The dequantized weight of a layer at the point of the running pass."""
        moved = self._weights.get(node.name)
        if moved is not None:
            return moved
        return self._fixed[node.name] if node.name in self._fixed else super().weight(node)

    def moved_weights(
        self, network: QuantizedNetwork, scales: Mapping[str, Tensor], how: Estimator
    ) -> dict[str, Tensor]:
        """Weights of the layers whose scales may move, as functions of `scales`, in the pass's number type.

        The codes are those of `network`; scales may differ from its own, which gives the surrogate away from its point.
        """
        weights = {}
        for layer in (name.removesuffix(".weight") for name in scales if name.endswith(".weight")):
            weight, quantizer = network.graph[layer].weight, network.weights[layer]
            assert weight is not None
            standardize = network.scheme.bias_correction == "weight"
            weights[layer] = effective_weight(
                weight,
                quantizer.codes(weight),
                scales[f"{layer}.weight"],
                quantizer.zero_point,
                quantizer.bits,
                how.weights,
                standardize,
                quantizer.scale,
            ).to(self.dtype)
        return weights

    def logits(
        self,
        network: QuantizedNetwork,
        scales: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        exact: Mapping[str, Value],
        images: int,
        how: Estimator,
        anchors: Anchors | None = None,
    ) -> Tensor:
        """Logits of some images; in value those of the exact engine where the scales are the network's own.

        Args:
            network: The candidate.
            scales: The scales that may move, float64; they carry the graph.
            weights: Of `moved_weights`.
            exact: Values of the border and of all quantized changing nodes (see `Evaluator.passes`), and `PIXELS`.
            images: How many images.
            how: Through which roundings derivatives pass.
            anchors: Empty: filled with what the residuals are frozen at. Filled: used, which gives the smooth function
                that the derivatives belong to, at scales other than the network's. None: the scales are the network's.

        Returns:
            (images, classes) in the pass's number type.
        """
        self._weights = dict(weights)
        values = {name: number(value, self.dtype) for name, value in exact.items() if name not in self.quantized}
        last = {name: node.name for node in self._nodes for name in node.inputs}
        for node in self._nodes:
            if node.op == "input":
                result = number(exact[PIXELS], self.dtype)
            else:
                result = self.apply(node, [values[name] for name in node.inputs], images)
            if node.name in self.quantized and isinstance(exact[node.name], Codes):
                anchor = None if anchors is None else anchors.setdefault(node.name, result.detach())
                result = self._quantized(node.name, network, scales, exact[node.name], result, how, anchor)
            values[node.name] = result
            for name in set(node.inputs):
                if last[name] == node.name:
                    del values[name]
        self._weights = {}
        return values[self.graph.output]

    def _quantized(
        self,
        name: str,
        network: QuantizedNetwork,
        scales: Mapping[str, Tensor],
        exact: Value,
        x: Tensor,
        how: Estimator,
        anchor: Tensor | None,
    ) -> Tensor:
        assert isinstance(exact, Codes)
        quantizer, scale = network.activations.get(name), scales.get(f"{name}.output")
        if quantizer is not None and scale is not None:
            return self._moved_quantizer(exact, x, quantizer, scale.to(self.dtype), how.activations, anchor)
        value = number(exact, self.dtype)
        if not how.activations:
            return value
        if quantizer is None:  # log2 codes have no scale; their straight-through estimate is that of rounding
            low, high, factors = -math.inf, math.inf, None
        else:
            low, high = ends(quantizer)
            factors = quantizer.factors(x.ndim)
        factor = None if factors is None else factors.to(self.dtype)
        return (
            Follow.apply(x, value, low, high, factor)
            if anchor is None
            else follow_from(anchor, x, value, low, high, factor)
        )

    def _moved_quantizer(
        self,
        exact: Codes,
        x: Tensor,
        quantizer: ActivationQuantizer,
        scale: Tensor,
        follow: bool,
        anchor: Tensor | None,
    ) -> Tensor:
        factors = quantizer.factors(x.ndim)
        factor = torch.ones((), dtype=self.dtype) if factors is None else factors.to(self.dtype)
        zero_point = quantizer.zero_point.to(self.dtype)
        centred = exact.integers.to("cpu", self.dtype) / factor
        if follow:
            fixed = x.detach() if anchor is None else anchor
            u0 = fixed / (quantizer.scale.to(self.dtype) * factor) + zero_point
            u = x / (scale * factor) + zero_point
            centred = followed(centred + zero_point, u, quantizer.bits, u0) - zero_point
        return centred * factor * scale


def ends(quantizer: ActivationQuantizer) -> tuple[float, float]:
    """The smallest and largest value of a quantizer (of exponent 0)."""
    scale, zero_point = float(quantizer.scale), float(quantizer.zero_point)
    return -zero_point * scale, (2**quantizer.bits - 1 - zero_point) * scale


def number(value: Value, dtype: torch.dtype) -> Tensor:
    """The number that a value stands for, in another number type and on the CPU, where surrogates are computed."""
    if isinstance(value, RawCodes):
        return value.codes.to("cpu", dtype).sub_(value.zero_point).mul_(value.scale)
    if isinstance(value, Codes) and not value.deferred:
        return value.integers.to("cpu", dtype) * value.scale
    return (value.value() if isinstance(value, Codes) else value).to("cpu", dtype)


def unary(node: Node, values: Sequence[Tensor]) -> Tensor:
    """An activation function that PyTorch can differentiate."""
    options = {key: value for key, value in node.attrs.items() if key != "function"}
    return UNARY[node.attrs["function"]](values[0], **options)


def cast_graph(graph: Graph, dtype: torch.dtype, biases: Mapping[str, Tensor] | None = None) -> Graph:
    """A graph with all its numbers in another type, and with other biases in place of some."""

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    nodes = {}
    for node in graph:
        bias = (biases or {}).get(node.name, node.bias)
        attrs = {key: cast(value) for key, value in node.attrs.items()}
        nodes[node.name] = replace(node, weight=cast(node.weight), bias=cast(bias), attrs=attrs)
    return replace(graph, nodes=nodes)
