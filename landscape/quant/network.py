"""The quantized network: a graph, a scheme, and every scale and zero point by name.

The parameters are plain tensors; changing a scale makes a new `QuantizedNetwork` that shares all the rest::

    moved = network.with_scales({"blocks.5.attn.qkv.weight": scales * 1.01})
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from landscape.errors import UserError
from landscape.graph import Graph, Node
from landscape.graph.ir import WEIGHTED
from landscape.quant.bias_correction import match_moments
from landscape.quant.placement import Placement
from landscape.quant.qparams import CodeRange, channel_view, quantize
from landscape.quant.scheme import FLOAT_BITS, Scheme


@dataclass(frozen=True)
class WeightQuantizer:
    """Quantizer of one layer's weight, per output channel.

    Attributes:
        bits: 2 to 8.
        scale: float64 (out,), positive.
        zero_point: float64 (out,), integers.
    """

    bits: int
    scale: Tensor
    zero_point: Tensor

    def codes(self, weight: Tensor) -> Tensor:
        """Integer codes 0 .. 2^bits - 1 of a weight (out, ...), float64."""
        axes = weight.ndim
        return quantize(
            weight, channel_view(self.scale, axes, 0), channel_view(self.zero_point, axes, 0), CodeRange(self.bits)
        )


@dataclass(frozen=True)
class ActivationQuantizer:
    """Quantizer of one operation's value, per tensor.

    A code q stands for (q - zero_point) * scale * 2^exponent, where only PTF has exponents (0 elsewhere).

    Attributes:
        bits: 2 to 8.
        scale: float64 (), positive. With PTF the scale of exponent 0, an eighth of the layer's.
        zero_point: float64 (), an integer.
        exponents: int64 (channels,) in 0 .. 3, or None.
        channel_axis: Axis of the channels that the exponents belong to.
    """

    bits: int
    scale: Tensor
    zero_point: Tensor
    exponents: Tensor | None = None
    channel_axis: int = -1

    def factors(self, axes: int) -> Tensor | None:
        """2^exponent as float64, shaped to multiply a value with that many axes."""
        return None if self.exponents is None else channel_view(2.0 ** self.exponents.double(), axes, self.channel_axis)

    def integers(self, value: Tensor) -> Tensor:
        """(q - zero_point) 2^exponent: the integer that, times `scale`, is the quantized value. float64, as `value`."""
        factors = self.factors(value.ndim)
        scale = self.scale if factors is None else self.scale * factors
        centred = quantize(value, scale, self.zero_point, CodeRange(self.bits)) - self.zero_point
        return centred if factors is None else centred * factors


@dataclass(frozen=True)
class WeightOperand:
    """A layer's weight as the engines use it: dequantized weight = gain * integers + offset, per output channel.

    Attributes:
        integers: Codes minus zero point, float64 (out, ...).
        gain: float64 (out,): the scale, or with weight correction the factor that restores the standard deviation.
        offset: float64 (out,) with weight correction, else None.
        bias: float64 (out,), or None.
    """

    integers: Tensor
    gain: Tensor
    offset: Tensor | None
    bias: Tensor | None

    def dequantized(self) -> Tensor:
        """The weight that the codes stand for, float64 (out, ...)."""
        axes = self.integers.ndim
        weight = self.integers * channel_view(self.gain, axes, 0)
        return weight if self.offset is None else weight + channel_view(self.offset, axes, 0)


@dataclass(frozen=True)
class QuantizedNetwork:
    """A network with all that its integer codes depend on.

    Attributes:
        graph: The float network, batch norms folded.
        scheme: How it is quantized, with the bias correction decided (`Scheme.for_graph`).
        exact_input: Whether the images stay as they are.
        placements: The quantizers of activations, by node.
        weights: Quantizers of weights, by layer; empty with 32-bit weights.
        activations: Quantizers of activations, by node; a `log2` softmax has none (its codes need no scale).
        biases: With output correction: what stands in place of each layer's bias, float64 (out,).
    """

    graph: Graph
    scheme: Scheme
    exact_input: bool
    placements: Mapping[str, Placement]
    weights: Mapping[str, WeightQuantizer]
    activations: Mapping[str, ActivationQuantizer]
    biases: Mapping[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line: bits, and how many quantizers."""
        counts = f"{len(self.weights)} weights and {len(self.activations)} activations quantized"
        return f"QuantizedNetwork({self.scheme.bits}, {counts}, {self.graph!r})"

    def __post_init__(self) -> None:
        if self.scheme.bias_correction == "auto":
            raise ValueError("the bias correction is not decided yet; give scheme.for_graph(graph)")

    def scale_names(self) -> list[str]:
        """Names of all scales: ``<layer>.weight`` and ``<node>.output``, in the order of computation."""
        return scale_names(self.graph, self.scheme, self.placements)

    def scale(self, name: str) -> Tensor:
        """A scale by name, float64: (out,) for weights, () for activations.

        Raises:
            UserError: There is no scale of that name.
        """
        return self._quantizer(name).scale

    def _quantizer(self, name: str) -> WeightQuantizer | ActivationQuantizer:
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and owner in self.weights:
            return self.weights[owner]
        if kind == "output" and owner in self.activations:
            return self.activations[owner]
        names = self.scale_names()
        near = difflib.get_close_matches(name, names, 3) or names[:3]
        raise UserError(f"no scale named {name!r}; names look like {', '.join(near)}")

    def with_parameters(
        self, scales: Mapping[str, Any] | None = None, zero_points: Mapping[str, Any] | None = None
    ) -> QuantizedNetwork:
        """The same network with other scales or zero points, given by name.

        Args:
            scales: Positive and finite, in the shape of the scale that they replace; tensors, arrays or numbers.
            zero_points: Integers within the code range, likewise.

        Raises:
            UserError: A name is unknown, a shape differs, or a value is out of bounds.
        """
        weights, activations = dict(self.weights), dict(self.activations)
        for name in {**(scales or {}), **(zero_points or {})}:
            old, (owner, _, _) = self._quantizer(name), name.rpartition(".")
            scale = _scale(name, scales[name], old) if scales and name in scales else old.scale
            zero_point = _zero_point(name, zero_points[name], old) if zero_points and name in zero_points else None
            zero_point = old.zero_point if zero_point is None else zero_point
            if isinstance(old, WeightQuantizer):
                weights[owner] = replace(old, scale=scale, zero_point=zero_point)
            else:
                activations[owner] = replace(old, scale=scale, zero_point=zero_point)
        return replace(self, weights=weights, activations=activations)

    def with_scales(self, scales: Mapping[str, Tensor]) -> QuantizedNetwork:
        """The same network with other scales; see `with_parameters`."""
        return self.with_parameters(scales=scales)

    def operand(self, layer: str) -> WeightOperand:
        """The weight of a layer, quantized (and corrected, as the scheme says)."""
        node = self.graph[layer]
        weight, quantizer = _weight(node), self.weights[layer]
        integers = quantizer.codes(weight) - channel_view(quantizer.zero_point, weight.ndim, 0)
        bias = self.biases.get(layer, node.bias)
        if self.scheme.bias_correction == "weight":
            gain, offset = match_moments(weight, integers, quantizer.scale)
            return WeightOperand(integers, gain, offset, bias)
        return WeightOperand(integers, quantizer.scale, None, bias)

    def float_parts(self) -> list[str]:
        """What is not quantized, one readable line each."""
        return _float_parts(self)


def scale_names(graph: Graph, scheme: Scheme, placements: Mapping[str, Placement]) -> list[str]:
    """Names of all scales that a network will have, known before calibration: ``<layer>.weight``, ``<node>.output``."""
    names = []
    for node in graph:
        if node.op in WEIGHTED and scheme.weight_bits != FLOAT_BITS:
            names.append(f"{node.name}.weight")
        if node.name in placements and placements[node.name].kind != "log2":
            names.append(f"{node.name}.output")
    return names


def _weight(node: Node) -> Tensor:
    assert node.weight is not None, node.name
    return node.weight


def _scale(name: str, value: Any, old: WeightQuantizer | ActivationQuantizer) -> Tensor:
    scale = _shaped(name, "scale", value, old)
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise UserError(f"scale of {name} holds values that are not positive and finite; scales must be")
    return scale


def _zero_point(name: str, value: Any, old: WeightQuantizer | ActivationQuantizer) -> Tensor:
    zero_point, highest = _shaped(name, "zero point", value, old), CodeRange(old.bits).qmax
    if not bool(((zero_point == zero_point.round()) & (zero_point >= 0) & (zero_point <= highest)).all()):
        raise UserError(f"zero point of {name} holds values that are not integers from 0 to {highest}")
    return zero_point


def _shaped(name: str, part: str, value: Any, old: WeightQuantizer | ActivationQuantizer) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float64)
    if tensor.shape != old.scale.shape:
        raise UserError(f"{part} of {name} has shape {tuple(tensor.shape)}; expected {tuple(old.scale.shape)}")
    return tensor.clone()


def _float_parts(network: QuantizedNetwork) -> list[str]:
    parts = []
    if not network.weights:
        parts.append("all weights (32 bits asked for)")
    if network.scheme.activation_bits == 32:
        parts.append("all activations (32 bits asked for)")
    if network.exact_input and network.scheme.activation_bits != 32:
        parts.append("input images (kept as they are)")
    biased = [node.name for node in network.graph.weighted() if node.bias is not None]
    if biased:
        parts.append(f"biases of {len(biased)} layers ({biased[0]} ... {biased[-1]})")
    for node in network.graph:
        if node.op == "layer_norm":
            arithmetic = "7-bit factors" if network.scheme.layer_norm == "integer" else "float64 arithmetic"
            parts.append(f"{node.name}: weight, bias and statistics of the LayerNorm ({arithmetic})")
        elif node.op == "rms_norm":
            parts.append(f"{node.name}: weight and mean square of the norm (float64 arithmetic)")
        elif node.op == "resample":
            parts.append(f"{node.name}: factors of the interpolation or average")
        elif node.op == "softmax" and network.scheme.softmax == "uniform":
            parts.append(f"{node.name}: exponential and division of the softmax")
        elif node.op == "affine":
            parts.append(f"{node.name}: factor and shift per channel")
        elif node.op == "constant" and node.name not in network.activations:
            parts.append(f"{node.name}: constant, quantized where it is joined to activations")
        elif node.op == "unary" and node.name in network.activations:
            parts.append(f"{node.name}: argument of the activation function {node.attrs['function']}")
    return parts
