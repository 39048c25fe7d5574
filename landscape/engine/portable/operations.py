"""What stands between the layers: products of activations, sums, LayerNorm, softmax, joins.

Each function takes codes and returns codes of the given target, or None where it does not cover its inputs; then the
reference's float64 is used.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from landscape.engine.portable import float32, float64
from landscape.engine.portable.activations import UNIT
from landscape.engine.portable.compiling import compiled
from landscape.engine.portable.float64 import tie_limit
from landscape.engine.portable.products import (
    FLOAT,
    LARGEST_DEPTH,
    UNSIGNED,
    exact_float,
    integer_product,
    less_128,
    multiply_pairs,
)
from landscape.engine.portable.tables import channels_lie_last
from landscape.engine.portable.target import Target, settle
from landscape.engine.portable.values import Bytes, Powers
from landscape.engine.values import Codes
from landscape.quant.layer_norm import integer_layer_norm as exact_integer_layer_norm
from landscape.quant.layer_norm import layer_norm as exact_layer_norm
from landscape.quant.layer_norm import rms_norm as exact_rms_norm
from landscape.quant.qparams import CodeRange
from landscape.quant.softmax import MAX_TOKENS, SoftmaxTable, log_int_constants, log_int_softmax, uniform_softmax

_product = compiled(float64.product, one_loop=True)
_total = compiled(float64.total)
_gated = compiled(float64.gated)
_requantized = compiled(float64.requantized)
_layer_norm = compiled(float64.layer_norm, one_loop=True)
_integer_layer_norm = compiled(float64.integer_layer_norm)
_softmax = compiled(float32.softmax)
_log_softmax = compiled(float32.log_softmax)
_powers = compiled(float32.powers)
_row_sums = compiled(float32.row_sums)


_LARGEST_ROW = 193 * 255
"""Bound of the sum of a row of `Powers`: 3/2 in units of 2^-15."""


def can_multiply(a: Bytes | Powers, b: Bytes) -> bool:
    """Whether `product` covers two operands."""
    factors = None if isinstance(a, Powers) else a.factors
    fits = a.codes.shape[-1] <= LARGEST_DEPTH and a.codes.shape[:-2] == b.codes.shape[:-2]
    return fits and factors is None and b.factors is None


def product(a: Bytes | Powers, b: Bytes, scale: float, target: Target, way: str) -> Tensor | None:
    """Codes of `scale` a b: (..., R, K) with (..., K, C)."""
    if not can_multiply(a, b) or target.factors is not None:
        return None
    depth = a.codes.shape[-1]
    sums, rows, columns = _sums(a, b, way)
    step = a.scale * b.scale * scale

    def parameters() -> tuple[Tensor, ...]:
        gain = torch.tensor(step / target.step, dtype=torch.float64, device=sums.device)
        largest = max(depth * 255.0, _LARGEST_ROW) * 255.0
        return gain, target.zero_point, tie_limit(gain * (2.0 * largest) + target.zero_point), *target.ends

    def exact(integers: Tensor) -> Tensor:
        return target.exact(integers.double() * step)

    def of_rows(where: tuple[Tensor, ...]) -> Tensor:
        group, row = where
        added, taken = None if rows is None else rows[group, row], None if columns is None else columns[group, 0]
        return exact(integer_product(sums[group, row], added, taken))

    fast = _product(sums, rows, columns, *target.once(("product", step, depth), None, parameters))
    codes = exact(integer_product(sums, rows, columns)) if fast is None else settle(fast, of_rows)
    return codes.reshape(*a.codes.shape[:-1], b.codes.shape[-1])


def product_integers(a: Bytes, b: Bytes, way: str) -> Tensor:
    """Integers of a b: int32 (G, R, C)."""
    return integer_product(*_sums(a, b, way))


def _sums(a: Bytes | Powers, b: Bytes, way: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Sums (G, R, C), and what is to be added per row and taken off per column to give the integer product.

    sum (a - za)(b - zb) = sum a' b' - zb' sum a' - za' sum (b - zb) with a' = a - shift, za' = za - shift likewise.
    """
    if isinstance(a, Powers):
        return _sums_of_powers(a, b, way)
    groups, device = a.codes.shape[:-2].numel(), a.codes.device
    if way == FLOAT or device.type != "cpu":  # int8 products of a GPU come in multiples of 8 only, and one by one
        dtype = exact_float(a.codes.shape[-1] * 255.0 * 255.0)
        first, second = a.codes.to(dtype) - a.zero_point, b.codes.to(dtype) - b.zero_point
        return torch.matmul(first, second).reshape(groups, *first.shape[-2:-1], second.shape[-1]), None, None
    shift = 0 if way == UNSIGNED else 128
    depth, zero_a, zero_b = a.codes.shape[-1], a.zero_point - shift, b.zero_point - 128
    rows = columns = None
    if zero_b:
        rows = (_sums_of_codes(a.codes) - depth * shift).reshape(groups, -1, 1) * -zero_b
    if zero_a:
        sums = _sums_of_codes(b.codes.transpose(-2, -1)).reshape(groups, 1, -1)
        columns = (sums - depth * b.zero_point) * zero_a
    return multiply_pairs(less_128(a.codes) if shift else a.codes, less_128(b.codes)), rows, columns


def _sums_of_powers(a: Powers, b: Bytes, way: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same with powers of two: a product for each of their bytes."""
    groups, device = a.codes.shape[:-2].numel(), a.codes.device
    if way != UNSIGNED or device.type != "cpu":
        dtype = exact_float(_LARGEST_ROW * 255.0)
        sums = torch.matmul(a.integers.to(dtype), b.codes.to(dtype) - b.zero_point)
        return sums.reshape(groups, *sums.shape[-2:]), None, None
    parts = _powers(a.codes, a.smallest)
    parts = float32.powers(a.codes, a.smallest) if parts is None else parts
    columns, zero = less_128(b.codes).expand(2, *b.codes.shape), b.zero_point - 128
    low, high = multiply_pairs(parts, columns).unflatten(0, (2, groups))  # type: ignore[no-untyped-call]
    rows = None
    if zero:
        of_low, of_high = _sums_of_codes(parts).reshape(2, groups, -1, 1)
        rows = (of_low + 256 * of_high) * -zero
    return torch.add(low, high, alpha=256), rows, None


def _sums_of_codes(codes: Tensor) -> Tensor:
    found = _row_sums(codes)
    return codes.sum(-1, keepdim=True, dtype=torch.int32) if found is None else found


def total(a: Bytes, b: Bytes, target: Target) -> Tensor | None:
    """Codes of a + b, where b has the shape of a or is one value for all images."""
    if b.codes.shape == a.codes.shape[1:]:
        b = Bytes(b.codes.unsqueeze(0), b.zero_point, b.scale, b.factors)
    if a.codes.shape != b.codes.shape and b.codes.shape != (1, *a.codes.shape[1:]):
        return None
    by_channel = a.factors is not None or b.factors is not None or target.factors is not None
    moved = not by_channel and channels_lie_last(a.codes)
    first, second = _in_rows(a.codes, moved), _in_rows(b.codes, moved)

    def parameters() -> tuple[Tensor, ...]:
        gain_a, zero_a, most_a = _term(a, target)
        gain_b, zero_b, most_b = _term(b, target)
        zero = target.zero_point - zero_a - zero_b
        return gain_a, gain_b, zero, tie_limit(most_a + most_b + target.zero_point), *target.ends

    key = ("total", a.scale, a.zero_point, id(a.factors), b.scale, b.zero_point, id(b.factors))
    gain_a, gain_b, *others = target.once(key, (a.factors, b.factors), parameters)
    fast = _total(first, gain_a, second, gain_b, *others)
    if fast is None:
        codes = target.exact(_value(a, first) + _value(b, second))
    else:

        def exact(where: tuple[Tensor, ...]) -> Tensor:
            image, row = where[:2]
            other = second.expand_as(first)
            return target.exact(_value(a, first[image, row]) + _value(b, other[image, row]))

        codes = settle(fast, exact)
    if not moved:
        return codes.reshape(a.codes.shape)
    return _as_images(codes, a.codes.shape)


def gated(a: Bytes, b: Bytes, target: Target) -> Tensor | None:
    """Codes of a product, element by element: of images (N, C, H, W) and as many, or (N, C, 1, 1)."""
    shapes = (a.codes.shape, (*a.codes.shape[:2], 1, 1))
    if a.codes.ndim != 4 or b.codes.shape not in shapes or not a.factors is b.factors is target.factors is None:
        return None
    first, second = (_in_rows(x.codes, moved=True) for x in (a, b))

    def parameters() -> tuple[Tensor, ...]:
        gain = a.scale * b.scale / target.scale
        limit = tie_limit(gain * 255.0**2 + target.zero_point)
        return target.number(a.zero_point), target.number(b.zero_point), gain, target.zero_point, limit, *target.ends

    key = ("gated", a.scale, a.zero_point, b.scale, b.zero_point)
    zero_a, zero_b, *others = target.once(key, None, parameters)
    fast = _gated(first, zero_a, second, zero_b, *others)
    if fast is None:
        codes = target.exact(_value(a, first) * _value(b, second))
    else:

        def exact(where: tuple[Tensor, ...]) -> Tensor:
            image, row = where
            return target.exact(_value(a, first[image, row]) * _value(b, second.expand_as(first)[image, row]))

        codes = settle(fast, exact)
    return _as_images(codes, a.codes.shape)


def _in_rows(codes: Tensor, moved: bool) -> Tensor:
    """Codes as (N, rows, last axis), the channels of (N, C, H, W) moved to the end first if asked for."""
    codes = codes.permute(0, 2, 3, 1) if moved else codes
    return codes.reshape(codes.shape[0], -1, codes.shape[-1])


def _as_images(codes: Tensor, shape: torch.Size) -> Tensor:
    """What `_in_rows` has moved, back as (N, C, H, W)."""
    images, channels, height, width = shape
    return codes.reshape(images, height, width, channels).permute(0, 3, 1, 2)


def _term(x: Bytes, target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """Gain of codes in units of the target's, what the zero point takes off, and the most that both amount to."""
    gain = x.scale / target.scale
    if x.factors is not None:
        gain = gain * x.factors.double()
    return gain, gain * x.zero_point, gain * (255.0 + x.zero_point)


def _centred(x: Bytes, codes: Tensor) -> Tensor:
    """Integers, float64, that codes like those of x stand for."""
    integers = codes.double() - x.zero_point
    return integers if x.factors is None else integers * x.factors


def _value(x: Bytes, codes: Tensor) -> Tensor:
    return _centred(x, codes) * x.scale


def requantized(x: Bytes, target: Target) -> Tensor:
    """The codes that `target` gives to a value that is quantized otherwise."""
    rows = x.codes.reshape(-1, x.codes.shape[-1])

    def parameters() -> tuple[Tensor, ...]:
        gain, zero, most = _term(x, target)
        return gain, target.zero_point - zero, tie_limit(most + target.zero_point), *target.ends

    key = ("requantized", x.scale, x.zero_point, id(x.factors))
    fast = _requantized(rows, *target.once(key, x.factors, parameters))
    codes = (
        target.exact(_value(x, rows))
        if fast is None
        else settle(fast, lambda where: target.exact(_value(x, rows[where[0]])))
    )
    return codes.reshape(x.codes.shape)


def layer_norm(x: Bytes, weight: Tensor, bias: Tensor, eps: float, target: Target) -> Tensor | None:
    """Codes of a float LayerNorm over the last axis."""
    return _norm(x, weight, bias, eps, None, target)


def rms_norm(x: Bytes, weight: Tensor, eps: float, floor: float, target: Target) -> Tensor | None:
    """Codes of an RMS norm over the last axis."""
    return _norm(x, weight, None, eps, floor, target)


def _norm(
    x: Bytes, weight: Tensor, bias: Tensor | None, eps: float, floor: float | None, target: Target
) -> Tensor | None:
    channels = x.codes.shape[-1]
    if channels > float64.LARGEST_NORM:
        return None
    rows = x.codes.reshape(-1, channels)
    scale = torch.tensor(x.scale, dtype=torch.float64)
    offset = torch.zeros_like(weight.double()) if bias is None else bias.double()

    def value(codes: Tensor) -> Tensor:
        if floor is not None:
            return exact_rms_norm(_centred(x, codes), scale, weight.double(), eps, floor)
        return exact_layer_norm(_centred(x, codes), scale, weight.double(), offset, eps)

    def parameters() -> tuple[Tensor | None, ...]:
        gain, shift = weight.double() / target.scale, offset / target.scale
        largest = gain.abs() * channels**0.5  # no number of a row is farther from its mean, in standard deviations
        return (
            target.number(x.zero_point),
            (eps * channels**2 / (scale * scale)).to(rows.device),
            gain,
            shift + target.zero_point,
            tie_limit(largest + shift.abs() + target.zero_point),
            *target.ends,
            None if floor is None else (floor * channels / scale).to(rows.device),
        )

    key = ("norm", x.scale, x.zero_point, id(weight), id(bias), eps, floor)
    zero, *others = target.once(key, (weight, bias), parameters)
    fast = _layer_norm(rows, zero, x.factors, *others)
    if fast is None:
        codes = target.exact(value(rows))
    else:
        codes = settle(fast, lambda where: target.exact(value(rows[where[0]])))
    return codes.reshape(x.codes.shape)


def integer_layer_norm(x: Bytes, weight: Tensor, bias: Tensor, target: Target) -> Tensor | None:
    """Codes of an integer LayerNorm over the last axis."""
    channels = x.codes.shape[-1]
    if channels > float64.LARGEST_NORM or target.factors is not None:
        return None
    rows = x.codes.reshape(-1, channels)

    def exact(codes: Tensor) -> Tensor:
        scale = torch.tensor(x.scale, dtype=torch.float64, device=codes.device)
        y = exact_integer_layer_norm(_centred(x, codes), scale, weight, bias, target.scale)
        return target.exact(y * target.scale)

    def parameters() -> tuple[Tensor, ...]:
        units = weight.double() / target.scale, bias.double() / target.scale
        return target.number(x.zero_point), *units, target.zero_point, *target.ends

    key = ("integer_layer_norm", x.zero_point, id(weight), id(bias))
    zero, *others = target.once(key, (weight, bias), parameters)
    fast = _integer_layer_norm(rows, zero, x.factors, *others)
    codes = exact(rows) if fast is None else settle(fast, lambda where: exact(rows[where[0]]))
    return codes.reshape(x.codes.shape)


@lru_cache(1024)
def _log_int_numbers(scale: float, tokens: int, device: torch.device) -> tuple[Tensor, ...]:
    """1 / m, m, b, c and the error's bound, see `float32.log_softmax`."""
    b, c, m = log_int_constants(scale)
    numbers = (1.0 / m, m, b, c, (tokens + 40) * UNIT)
    return tuple(torch.tensor(n, dtype=torch.float32, device=device) for n in numbers)


def log_softmax(x: Bytes, table: SoftmaxTable, bits: int) -> Powers | None:
    """Log-Int-Softmax over the last axis."""
    tokens, smallest = x.codes.shape[-1], CodeRange(bits).qmax
    if x.factors is not None or smallest > float32.LARGEST_POWER or tokens > MAX_TOKENS or x.scale < 1e-5:
        return None
    rows = x.codes.reshape(-1, tokens)
    fast = _log_softmax(rows, *_log_int_numbers(x.scale, tokens, rows.device), smallest)

    def exact(integers: Tensor) -> Tensor:
        return log_int_softmax(integers.double(), table, bits)[0].to(torch.uint8)

    codes = exact(rows) if fast is None else settle(fast, lambda where: exact(rows[where[0]]))
    return Powers(codes.reshape(x.codes.shape), smallest)


def softmax(x: Codes, table: SoftmaxTable, target: Target) -> Tensor | None:
    """Codes of a uniform softmax over the last axis; of masked logits too, whose integers are int32."""
    if isinstance(x, Bytes):
        logits, bits, covered = x.codes, 8, x.factors is None
    else:
        logits, bits = x.integers, 16
        covered = logits.dtype == torch.int32 and x.scale * (2**16 - 1) >= 29.0  # beyond 41 ln 2 terms are 0
    tokens = logits.shape[-1]
    if tokens > MAX_TOKENS or target.factors is not None or not covered:
        return None
    rows = logits.reshape(-1, tokens)

    def parameters() -> tuple[Tensor, ...]:
        exponents = torch.arange(bits, dtype=torch.float64)
        return torch.exp(-x.scale * 2.0**exponents).float().to(rows.device), target.inverse, target.zero, target.highest

    fast = _softmax(rows, *target.once(("softmax", x.scale, bits), None, parameters))

    def exact(integers: Tensor) -> Tensor:
        return target.exact(uniform_softmax(integers.double(), table))

    codes = exact(rows) if fast is None else settle(fast, lambda where: exact(rows[where[0]]))
    return codes.reshape(logits.shape)
