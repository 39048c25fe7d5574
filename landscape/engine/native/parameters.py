"""Parameters of a plan's steps, as the C structures of the kernels (see layer.h, norm.h, softmax.h, attention.h).

Each function takes quantizers and what else the step depends on, and returns a structure with the tensors in it.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import torch
from torch import Tensor

from landscape.engine.native import bounds
from landscape.engine.native.curves import CELLS, Curve, fit_curve
from landscape.engine.native.headers import (
    Attention,
    Fast,
    Finish,
    Layer,
    LayerStep,
    Matrices,
    Norm,
    Product,
    Softmax,
    Steps,
    Sum,
    address,
    address_of,
)
from landscape.engine.native.structs import Held, Quantizer, quantizer_struct
from landscape.engine.native.weights import PreparedWeight
from landscape.graph import Node
from landscape.quant.elementwise import Elementwise
from landscape.quant.network import ActivationQuantizer
from landscape.quant.qparams import CodeRange
from landscape.quant.softmax import SoftmaxTable
from landscape.quant.steps import StepTable

WIDE = 64
"""Outputs that an epilogue takes at once, as in the kernels; arrays per output are padded to a multiple."""

LARGEST_CENTRED = 255
LARGEST_FACTOR = 8


def _layer(
    weight: PreparedWeight, x: ActivationQuantizer, scale: Tensor, zero: Tensor | float, highest: float
) -> tuple[Layer, list[Any]]:
    """A layer whose fast form counts in units of `scale` from `zero` on (t = value / scale + zero)."""
    outputs, x_scale, x_zero = weight.gain.numel(), float(x.scale), int(x.zero_point)
    gain = weight.gain * x_scale
    offset = None if weight.offset is None else weight.offset * x_scale
    shift = weight.centre - weight.zero_point
    bias = zero if weight.bias is None else weight.bias / scale + zero
    bias = torch.as_tensor(bias, dtype=torch.float64).expand(outputs)
    fast_offset = None if offset is None else offset / scale
    tolerance, per_total = bounds.layer_bound(gain / scale, fast_offset, bias, highest)
    arrays = [
        _padded(weight.code_sums * -x_zero), _padded(shift) if bool(shift.any()) else None, gain, offset, weight.bias,
        _padded32(gain / scale), None if fast_offset is None else _padded32(fast_offset), _padded32(bias),
    ]  # fmt: skip
    saturates = bounds.layer_saturates(gain / scale, fast_offset, bias, weight.depth, LARGEST_CENTRED, highest)
    fast = Fast(address(arrays[5]), address(arrays[6]), address(arrays[7]), tolerance, per_total, saturates)
    layer = Layer(weight.depth, outputs, x_zero, address(weight.packed), *(address(a) for a in arrays[:5]), fast)
    return layer, [weight.packed, *arrays]


Limits = tuple[float, float] | None
"""Lowest and highest code, where an activation function clamps (see `clamps`)."""


def quantized_layer(
    weight: PreparedWeight, x: ActivationQuantizer, out: ActivationQuantizer, limits: Limits = None
) -> Held:
    """A layer with a quantizer behind it, uniform or with powers of two."""
    quantizer = activation_struct(out, limits)
    factors = out.factors(1)
    scale = out.scale if factors is None else out.scale * factors
    layer, kept = _layer(weight, x, scale, out.zero_point, CodeRange(out.bits).qmax)
    if limits is not None and limits != (0.0, 255.0):
        layer.fast.saturate = False
    finish = Finish.QUANTIZE if factors is None else Finish.POWERS_OF_TWO
    return Held(LayerStep(layer, finish, struct_at(quantizer), None, None), (*kept, quantizer))


def plain_layer(weight: PreparedWeight, x: ActivationQuantizer) -> Held:
    """A layer whose float64 value is wanted."""
    one = torch.ones((), dtype=torch.float64)
    layer, kept = _layer(weight, x, one, 0.0, 0.0)
    return Held(LayerStep(layer, Finish.PLAIN, None, None, None), tuple(kept))


def stepped_layer(
    weight: PreparedWeight, x: ActivationQuantizer, out: ActivationQuantizer, function: Elementwise, table: StepTable
) -> Held:
    """A layer with an activation function and its quantizer behind it."""
    held, curve = _steps(out, function, table)
    width = torch.tensor(curve.width, dtype=torch.float64)
    layer, kept = _layer(weight, x, width, -curve.start / curve.width, float(CELLS))
    layer.fast.tolerance = curve.tolerance(layer.fast.tolerance)
    layer.fast.per_total = bounds.MARGIN * curve.slope * layer.fast.per_total
    return Held(LayerStep(layer, Finish.STEPS, None, struct_at(held), None), (*kept, held))


def _steps(out: ActivationQuantizer, function: Elementwise, table: StepTable) -> tuple[Held, Curve]:
    scale, zero, highest = float(out.scale), float(out.zero_point), float(CodeRange(out.bits).qmax)
    thresholds, codes = table.thresholds.contiguous(), table.codes.to(torch.uint8)
    curve = fit_curve(lambda v: function.function(v) / scale + zero, thresholds.numpy(), table.codes.numpy(), highest)
    coefficients = torch.from_numpy(curve.coefficients).contiguous()
    steps = Steps(
        address(thresholds), address(codes), thresholds.numel(), address(coefficients), highest, CELLS - 2.0**-19
    )
    return Held(steps, (thresholds, codes, coefficients)), curve


def summed_layer(
    weight: PreparedWeight,
    x: ActivationQuantizer,
    own: ActivationQuantizer,
    other: ActivationQuantizer,
    out: ActivationQuantizer,
    channels: int,
    limits: Limits = None,
) -> Held:
    """A layer with a quantizer and a residual sum behind it: quantize(other + quantize(layer))."""
    held = quantized_layer(weight, x, own)
    total = sum_struct(other, own, out, channels, limits)
    held.struct.finish, held.struct.sum = Finish.SUM, struct_at(total)
    return Held(held.struct, (*held.tensors, total))


def sum_struct(
    a: ActivationQuantizer,
    b: ActivationQuantizer | None,
    out: ActivationQuantizer,
    channels: int,
    limits: Limits = None,
) -> Held:
    """quantize(a + b), or quantize(a), in rows of so many channels."""
    quantizer = activation_struct(out, limits)
    factors = out.factors(1)
    scale = (out.scale if factors is None else out.scale * factors).expand(channels)
    a_gain = a.scale / scale
    b_gain = None if b is None else b.scale / scale
    b_largest = LARGEST_CENTRED * (1 if b is None or b.exponents is None else LARGEST_FACTOR)
    tolerance = bounds.sum_bound(a_gain, b_gain, b_largest, float(out.zero_point), CodeRange(out.bits).qmax)
    gains = [_padded32(a_gain), None if b_gain is None else _padded32(b_gain)]
    struct = Sum(
        a.exponents is not None, b is not None and b.exponents is not None, _zero_of(a),
        0 if b is None else _zero_of(b), float(a.scale), 0.0 if b is None else float(b.scale),
        struct_at(quantizer), address(gains[0]), address(gains[1]), tolerance,
    )  # fmt: skip
    return Held(struct, (quantizer, *gains))


def norm_struct(node: Node, x: ActivationQuantizer, out: ActivationQuantizer, integer: bool) -> Held:
    """Float LayerNorm or RMS norm with a quantizer behind it, uniform or with powers of two; or integer LayerNorm."""
    assert node.weight is not None
    quantizer, width = activation_struct(out), node.weight.numel()
    weight = node.weight.double().contiguous()
    bias = torch.zeros_like(weight) if node.bias is None else node.bias.double().contiguous()
    around_zero, floor = node.op == "rms_norm", node.attrs.get("floor", 0.0) * width / float(x.scale)
    scale = torch.tensor(float(x.scale), dtype=torch.float64)
    spread_offset = float(node.attrs["eps"] * width**2 / (scale * scale))
    factors = out.factors(1)
    out_scale = out.scale if factors is None else out.scale * factors
    gain, shift = weight / out_scale, bias / out_scale + out.zero_point
    arrays, highest = [_padded32(gain), _padded32(shift)], CodeRange(out.bits).qmax
    if integer:
        tolerance, per_mean = bounds.integer_norm_bound(gain, shift, highest)
    else:
        tolerance, per_mean = bounds.norm_bound(gain, shift, highest), 0.0
    struct = Norm(
        width, x.exponents is not None, _zero_of(x), spread_offset, address(weight), address(bias),
        struct_at(quantizer), address(arrays[0]), address(arrays[1]), tolerance,
        bounds.norm_saturates(gain, shift, highest), around_zero, floor, integer, float(x.scale),
        float(gain.abs().max()), per_mean,
    )  # fmt: skip
    return Held(struct, (quantizer, weight, bias, *arrays))


def softmax_struct(table: SoftmaxTable, out: ActivationQuantizer) -> Held:
    """Uniform softmax of 8-bit codes."""
    quantizer = activation_struct(out)
    terms = table.terms[_distances(table)].contiguous()
    units, planes = _units(table)
    # With a sum of terms from 2^i on, p / scale <= term / 2^i / scale; below 0.49 it rounds to the code of zero.
    reaches = [int((terms / 2.0**i / out.scale > 0.49).sum()) for i in range(16)]
    floats = terms.float()
    tolerance = bounds.softmax_bound(out.scale, float(out.zero_point), CodeRange(out.bits).qmax)
    struct = Softmax(
        address(planes), address(units), address(floats), struct_at(quantizer), reaches[0], tolerance,
        bounds.softmax_saturates(out.scale, CodeRange(out.bits).qmax), (ctypes.c_int32 * 16)(*reaches),
    )  # fmt: skip
    return Held(struct, (planes, units, floats, quantizer))


def _distances(table: SoftmaxTable) -> Tensor:
    """Places in the table of the distances between 8-bit codes."""
    return torch.arange(256).clamp(max=table.terms.numel() - 1)


def _units(table: SoftmaxTable) -> tuple[Tensor, Tensor]:
    """Terms by distance as integers, int64, and their bytes: uint8 (6, 256)."""
    units = table.units[_distances(table)].contiguous()
    return units, torch.stack([(units >> (8 * plane)) & 255 for plane in range(6)]).to(torch.uint8).contiguous()


LARGEST_POWER = 15
"""Of Log-Int-Softmax: powers of two in two bytes."""


def log_softmax(table: SoftmaxTable, bits: int) -> tuple[Held, ActivationQuantizer]:
    """Log-Int-Softmax of 8-bit codes, and what its powers of two mean as codes: multiples of the smallest."""
    smallest = CodeRange(bits).qmax
    units, planes = _units(table)
    # The sum is the largest term at least; where even then the code is that of zero, it always is.
    mantissa, exponent = torch.frexp(torch.round(units[0].double() / units.double()))
    codes = exponent - 1 + (mantissa >= 0.75).to(torch.int32)
    span = int((codes <= smallest).nonzero().max()) + 1
    out = ActivationQuantizer(8, torch.tensor(2.0**-smallest, dtype=torch.float64), torch.zeros(()).double())
    quantizer, inverse = activation_struct(out), (1.0 / units.double()).float()
    struct = Softmax(
        address(planes), address(units), address(inverse), struct_at(quantizer), span, math.inf, False,
        (ctypes.c_int32 * 16)(), True, smallest,
    )  # fmt: skip
    return Held(struct, (planes, units, inverse, quantizer)), out


def attention_struct(
    sizes: tuple[int, int, int],
    operands: tuple[ActivationQuantizer, ActivationQuantizer, ActivationQuantizer],
    outs: tuple[ActivationQuantizer, ActivationQuantizer],
    factors: tuple[float, float],
    softmax: tuple[Held, ActivationQuantizer],
) -> Held:
    """Attention.

    Args:
        sizes: Depth of q and k, tokens of k and v, width of v.
        operands: Quantizers of q, k, v.
        outs: Of logits and output.
        factors: Of the two products.
        softmax: Of 8-bit codes, and its quantizer.
    """
    (depth, tokens, width), (q, k, v), (logits, output) = sizes, operands, outs
    middle, chances = softmax
    first = _product(depth, tokens, q, k, factors[0], logits)
    second = _product(tokens, width, chances, v, factors[1], output)
    struct = Attention(first.struct, second.struct, middle.struct)
    return Held(struct, (first, second, middle))


def matrices_struct(
    sizes: tuple[int, int, int, int],
    operands: tuple[ActivationQuantizer, ActivationQuantizer],
    out: ActivationQuantizer,
    factor: float,
    columns: bool,
    stepped: tuple[Elementwise, StepTable] | None = None,
    limits: Limits = None,
) -> Held:
    """Products of matrices.

    Args:
        sizes: How many, rows, depth, columns.
        operands: Quantizers of both.
        out: Of the product.
        factor: That it is multiplied with.
        columns: Whether the second's numbers lie side by side along its columns, not along the depth.
        stepped: An activation function behind them, and its step table.
        limits: Where one clamps.
    """
    (count, rows, depth, outputs), (a, b) = sizes, operands
    product = _product(depth, outputs, a, b, factor, out, stepped, limits)
    return Held(Matrices(product.struct, count, rows, columns), (product,))


def _product(
    depth: int,
    outputs: int,
    a: ActivationQuantizer,
    b: ActivationQuantizer,
    factor: float,
    out: ActivationQuantizer,
    stepped: tuple[Elementwise, StepTable] | None = None,
    limits: Limits = None,
) -> Held:
    gain = torch.full((outputs,), float(a.scale) * float(b.scale) * factor, dtype=torch.float64)
    quantizer, highest = activation_struct(out, limits), float(CodeRange(out.bits).qmax)
    unit, zero, steps, curve = out.scale, out.zero_point.double(), None, None
    if stepped is not None:
        steps, curve = _steps(out, *stepped)
        unit = torch.tensor(curve.width, dtype=torch.float64)
        zero, highest = torch.tensor(-curve.start / curve.width, dtype=torch.float64), float(CELLS)
    fast_gain, bias = gain / unit, zero.expand(outputs)
    tolerance, per_total = bounds.layer_bound(fast_gain, None, bias, highest)
    if curve is not None:
        tolerance = curve.tolerance(tolerance)
    shift = torch.full((outputs,), 128 - _zero_of(b), dtype=torch.int32)
    arrays = [_padded(shift), gain, _padded32(fast_gain), _padded32(bias)]
    # A row of Log-Int-Softmax is at most 1.5 in all, in units of 2^-15: as many as 193 codes of 255.
    saturates = bounds.layer_saturates(fast_gain, None, bias, max(depth, 193), LARGEST_CENTRED, highest)
    saturates = saturates and limits in (None, (0.0, 255.0))
    fast = Fast(address(arrays[2]), None, address(arrays[3]), tolerance, per_total, saturates)
    layer = Layer(depth, outputs, _zero_of(a), None, None, address(arrays[0]), address(gain), None, None, fast)
    struct = Product(layer, _zero_of(b), struct_at(quantizer), None if steps is None else struct_at(steps))
    return Held(struct, (*arrays, quantizer, steps))


def activation_struct(quantizer: ActivationQuantizer, limits: Limits = None) -> Held:
    """A quantizer whose arrays per channel are padded."""
    held = quantizer_struct(quantizer)
    if limits is not None:
        held.struct.lowest, held.struct.highest = limits
    if quantizer.exponents is None:
        return held
    factors = quantizer.factors(1)
    assert factors is not None
    padded = _padded(factors.to(torch.int32))
    struct = Quantizer(*(getattr(held.struct, name) for name, _ in Quantizer._fields_))
    struct.factor = padded.data_ptr()
    return Held(struct, (*held.tensors, padded))


def _zero_of(quantizer: ActivationQuantizer) -> int:
    """What is to be taken off the stored numbers: the zero point of codes, nothing of int16 integers."""
    return 0 if quantizer.exponents is not None else int(quantizer.zero_point)


def struct_at(held: Held) -> int:
    """Where a structure lies."""
    return address_of(held.struct)


def _padded(values: Tensor) -> Tensor:
    """A vector with zeros up to a multiple of `WIDE`."""
    result = values.new_zeros(-(-values.numel() // WIDE) * WIDE)
    result[: values.numel()] = values
    return result


def _padded32(values: Tensor) -> Tensor:
    return _padded(values.float())
