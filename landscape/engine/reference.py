"""The reference arithmetic: the definition of a quantized network's value, written plainly in float64.

Why it gives the same codes on every machine, batch size and thread count:

- every sum (matrix products, convolutions, LayerNorm, softmax, averages) is a sum of integers that float64 holds
  exactly, so its order does not matter;
- around the sums stand only the elementary operations +, -, *, /, sqrt and rounding half to even, which IEEE 754
  defines to the last bit, in a fixed order;
- the transcendental functions are tabulated: the exponential over integer differences of logits, an activation
  function with the quantizer behind it as the step function that it is.

Where activations stay float (``a32``) the sums are ordinary float64 sums, and this guarantee does not hold.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.values import Codes, Value, as_float
from landscape.errors import UserError
from landscape.graph import Graph, Node
from landscape.images import ImageSet
from landscape.quant.elementwise import Elementwise, activation_function
from landscape.quant.layer_norm import integer_layer_norm, layer_norm, rms_norm
from landscape.quant.network import QuantizedNetwork, WeightOperand
from landscape.quant.qparams import CodeRange, channel_view
from landscape.quant.softmax import SoftmaxKind, SoftmaxTable, log_int_softmax, softmax_table, uniform_softmax
from landscape.quant.steps import StepTable, step_table

EXACT_INPUT_STEP = 2.0**-24
"""Grid of images that are not quantized: below half a float32 step of any pixel; on it sums are exact."""

_MOST_TABLES = 256
"""Softmax tables that siblings share: candidates whose scales of logits move each need their own."""

LARGEST_LOG2_CODE = 43
"""Of Log-Int-Softmax: a row of 2^13 terms, the largest 2^30 times the smallest, gives no probability below 2^-43."""


class FloatPass:
    """The float network in float64, node by node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._operations: dict[str, Callable[[Node, Sequence[Tensor]], Tensor]] = {
            "linear": lambda n, v: functional.linear(v[0], self.weight(n), n.bias),
            "conv2d": lambda n, v: _convolve(n, v[0], self.weight(n), n.bias),
            "matmul": lambda n, v: torch.matmul(v[0], v[1]) * n.attrs["scale"],
            "add": lambda n, v: v[0] + v[1],
            "mask_add": lambda n, v: v[0] + n.attrs["mask"],
            "mul": lambda n, v: v[0] * v[1],
            "scale": lambda n, v: v[0] * n.attrs["factor"],
            "affine": lambda n, v: _affine(n, v[0]),
            "layer_norm": lambda n, v: functional.layer_norm(v[0], v[0].shape[-1:], n.weight, n.bias, n.attrs["eps"]),
            "rms_norm": lambda n, v: _rms_norm(n, v[0]),
            "softmax": lambda n, v: torch.softmax(v[0], -1),
            "unary": lambda n, v: torch.from_numpy(np.asarray(_function(n).function(v[0].numpy()))),
            "mean": lambda n, v: v[0].mean(n.attrs["dims"], n.attrs["keepdim"]),
            "avg_pool2d": lambda n, v: functional.avg_pool2d(
                v[0], n.attrs["kernel"], n.attrs["stride"], n.attrs["padding"]
            ),
            "max_pool2d": lambda n, v: functional.max_pool2d(v[0], *n.attrs["args"]),
            "resample": lambda n, v: _resample(n, v[0]),
            "fold": lambda n, v: functional.fold(v[0], *n.attrs["args"]),
            "cat": lambda n, v: torch.cat(list(v), n.attrs["dim"]),
            "view": lambda n, v: _move(n, v[0]),
        }

    def weight(self, node: Node) -> Tensor:
        """The weight that a layer multiplies with, float64 (out, ...)."""
        assert node.weight is not None
        return node.weight

    def apply(self, node: Node, values: Sequence[Tensor], images: int) -> Tensor:
        """The float value of a node from the float values of its inputs."""
        if node.op == "constant":
            return _constant(node)
        if node.op == "expand":
            return values[0].expand([images if size == -1 else size for size in node.shape])
        return self._operations[node.op](node, values)


class Reference(FloatPass):
    """The quantized network's value, node by node.

    Args:
        network: Parameters of all quantizers.
        sibling: Arithmetic of a network that differs in few parameters; what is equal is shared, not computed anew.
    """

    name = "reference"

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None) -> None:
        super().__init__(network.graph)
        self.network = network
        self._operands: dict[str, WeightOperand] = {}
        self._steps: dict[str, StepTable] = {}
        self._softmax_tables: dict[tuple[SoftmaxKind, float], SoftmaxTable] = sibling._softmax_tables if sibling else {}
        if sibling is not None:
            old = sibling.network
            self._operands = {k: v for k, v in sibling._operands.items() if network.weights[k] is old.weights[k]}
            self._steps = {k: v for k, v in sibling._steps.items() if network.activations[k] is old.activations[k]}
        self._exact: dict[str, Callable[[Node, Sequence[Value]], Value | None]] = {
            "linear": self._product,
            "conv2d": self._product,
            "matmul": self._matmul,
            "mask_add": self._mask_add,
            "scale": self._scale,
            "layer_norm": self._layer_norm,
            "rms_norm": self._rms_norm,
            "softmax": self._softmax,
            "unary": self._unary,
            "mean": self._mean,
            "avg_pool2d": self._avg_pool2d,
            "max_pool2d": self._moved,
            "fold": self._fold,
            "view": self._moved,
        }

    def input(self, images: Tensor) -> Value:
        """The value of normalised images (N, C, H, W): quantized, or on a fine grid where they are kept."""
        images = images.double()
        if "input" in self.network.activations:
            return self._quantize("input", images)
        if self.network.exact_input:
            return Codes(torch.round(images / EXACT_INPUT_STEP), EXACT_INPUT_STEP)
        return images

    def pixels(self, images: ImageSet, chosen: slice) -> Value:
        """The value of some images of a set, see `input`."""
        return self.input(images.normalized(chosen, torch.float64))

    def evaluate(self, node: Node, values: Sequence[Value], images: int) -> Value:
        """The value of a node from the values of its inputs, quantized where the network has a quantizer.

        Args:
            node: Any node but the input.
            values: Of its inputs, in order.
            images: How many images are in the batch.
        """
        exact = self._exact.get(node.op)
        result = exact(node, values) if exact is not None else None
        if result is None:
            result = self.apply(node, [as_float(value) for value in values], images)
        if isinstance(result, Codes) or node.name not in self.network.activations:
            return result
        return self._quantize(node.name, result)

    def weight(self, node: Node) -> Tensor:
        """The dequantized weight, for products with activations that are float."""
        return self.operand(node).dequantized() if node.name in self.network.weights else super().weight(node)

    def operand(self, node: Node) -> WeightOperand:
        """The quantized weight of a layer, computed once."""
        if node.name not in self._operands:
            self._operands[node.name] = self.network.operand(node.name)
        return self._operands[node.name]

    def _quantize(self, name: str, value: Tensor) -> Codes:
        quantizer = self.network.activations[name]
        return Codes(quantizer.integers(value), float(quantizer.scale))

    # Each of these returns None where its inputs are not codes; then the float value is taken.

    def _product(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes) or node.name not in self.network.weights:
            return None
        operand = self.operand(node)
        integers = x.integers.double()
        sums = self._multiply(node, integers, operand.integers)
        axis = 1 if node.op == "conv2d" else -1
        result = sums * channel_view(operand.gain * x.scale, sums.ndim, axis)
        if operand.offset is not None:
            # dequantized weight = gain * integers + offset: the offset multiplies the sum of the inputs
            ones = torch.ones_like(operand.integers[: node.attrs.get("groups", 1)])
            totals = self._multiply(node, integers, ones)
            if axis == 1:
                totals = totals.repeat_interleave(sums.shape[1] // totals.shape[1], 1)
            result = result + totals * channel_view(operand.offset * x.scale, sums.ndim, axis)
        return result if operand.bias is None else result + channel_view(operand.bias, sums.ndim, axis)

    def _multiply(self, node: Node, integers: Tensor, weight: Tensor) -> Tensor:
        if node.op == "linear":
            return functional.linear(integers, weight)
        return _convolve(node, integers, weight, None)

    def _matmul(self, node: Node, values: Sequence[Value]) -> Value | None:
        a, b = values
        if not isinstance(a, Codes) or not isinstance(b, Codes):
            return None
        factor: float = a.scale * b.scale * node.attrs["scale"]
        return torch.matmul(a.integers.double(), b.integers.double()) * factor

    def _mask_add(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        return Codes(x.integers + torch.round(node.attrs["mask"] / x.scale), x.scale)

    def _scale(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        factor = node.attrs["factor"]
        if not isinstance(x, Codes) or factor == 0:
            return None
        return Codes(x.integers if factor > 0 else -x.integers, x.scale * abs(factor))

    def _layer_norm(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        assert node.weight is not None and node.bias is not None
        integers, scale = x.integers.double(), torch.tensor(x.scale, dtype=torch.float64)
        if self.network.scheme.layer_norm == "float":
            return layer_norm(integers, scale, node.weight, node.bias, node.attrs["eps"])
        quantizer = self.network.activations[node.name]
        codes = integer_layer_norm(integers, scale, node.weight, node.bias, quantizer.scale)
        return codes * quantizer.scale

    def _rms_norm(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        assert node.weight is not None
        return rms_norm(x.integers.double(), x.scale, node.weight, node.attrs["eps"], node.attrs["floor"])

    def _fold(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        return self.apply(node, [x.integers.double()], 0) * x.scale if isinstance(x, Codes) else None

    def _softmax(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        placement = self.network.placements.get(node.name)
        if not isinstance(x, Codes) or placement is None:
            return None
        logits = x.integers.double()
        if placement.kind == "uniform":
            return uniform_softmax(logits, self._softmax_table(node, x.scale, "uniform"))
        _, value = log_int_softmax(logits, self._softmax_table(node, x.scale, "log2"), placement.bits)
        smallest = 2.0 ** -min(CodeRange(placement.bits).qmax, LARGEST_LOG2_CODE)
        return Codes(value / smallest, smallest)

    def _softmax_table(self, node: Node, scale: float, kind: SoftmaxKind) -> SoftmaxTable:
        if (kind, scale) not in self._softmax_tables:
            if len(self._softmax_tables) >= _MOST_TABLES:
                del self._softmax_tables[next(iter(self._softmax_tables))]  # the oldest
            try:
                self._softmax_tables[kind, scale] = softmax_table(scale, kind)
            except ValueError as error:
                raise UserError(f"{node.name}: {error}") from error
        return self._softmax_tables[kind, scale]

    def _unary(self, node: Node, values: Sequence[Value]) -> Value | None:
        quantizer = self.network.activations.get(node.name)
        if quantizer is None or quantizer.exponents is not None:
            return None
        if node.name not in self._steps:
            self._steps[node.name] = step_table(
                _function(node), quantizer.scale, quantizer.zero_point, CodeRange(quantizer.bits)
            )
        codes = self._steps[node.name](as_float(values[0]).contiguous())
        return Codes(codes - quantizer.zero_point, float(quantizer.scale))

    def _mean(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        sums = x.integers.double().sum(node.attrs["dims"], node.attrs["keepdim"])
        return sums * x.scale / (x.integers.numel() // sums.numel())

    def _avg_pool2d(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        kernel, stride, padding = (node.attrs[key] for key in ("kernel", "stride", "padding"))
        window: int = kernel[0] * kernel[1]
        sums = functional.avg_pool2d(x.integers.double(), kernel, stride, padding, divisor_override=1)
        return sums * x.scale / window

    def _moved(self, node: Node, values: Sequence[Value]) -> Value | None:
        (x,) = values
        if not isinstance(x, Codes):
            return None
        return Codes(self.apply(node, [x.integers], 0), x.scale)


def _convolve(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    a = node.attrs
    x = x.contiguous() if a["groups"] > 1 else x  # by groups PyTorch is up to ten times slower with channels last
    return functional.conv2d(x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"])


def _affine(node: Node, x: Tensor) -> Tensor:
    assert node.weight is not None
    result = x * channel_view(node.weight, x.ndim, node.attrs["axis"])
    return result if node.bias is None else result + channel_view(node.bias, x.ndim, node.attrs["axis"])


def _rms_norm(node: Node, x: Tensor) -> Tensor:
    assert node.weight is not None
    norm = torch.sqrt(x.square().mean(-1, keepdim=True) + node.attrs["eps"]).clamp_min(node.attrs["floor"])
    return x / norm * node.weight


def _resample(node: Node, x: Tensor) -> Tensor:
    """Term by term: sums of few numbers in a fixed order, as the weights are no integers."""
    for axis, name in ((-2, "row"), (-1, "column")):
        places, weights = node.attrs[f"{name}_taps"], node.attrs[f"{name}_weights"]
        shape = (-1, 1) if axis == -2 else (-1,)
        terms = [x.index_select(axis, p) * w.reshape(shape) for p, w in zip(places, weights, strict=True)]
        x = functools.reduce(torch.add, terms)
    return x


def _move(node: Node, x: Tensor) -> Tensor:
    moved = node.attrs["call"](x, *node.attrs.get("args", ()), **node.attrs.get("kwargs", {}))
    assert isinstance(moved, Tensor)
    return moved


def _constant(node: Node) -> Tensor:
    value = node.attrs["value"]
    assert isinstance(value, Tensor)
    return value


def _function(node: Node) -> Elementwise:
    options = {key: value for key, value in node.attrs.items() if key != "function"}
    return activation_function(node.attrs["function"], options)
