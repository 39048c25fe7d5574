"""What stands between the layers: products of activations, sums, LayerNorm, softmax, joins.

Each function takes codes and returns codes of the given target, or None where it does not cover its inputs; then the
reference's float64 is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.engine.portable import float32
from landscape.engine.portable.compiling import compiled
from landscape.engine.portable.products import FLOAT, LARGEST_DEPTH, UNSIGNED, exact_float, multiply_pairs
from landscape.engine.portable.target import Target, settle
from landscape.engine.portable.values import Bytes
from landscape.quant.layer_norm import layer_norm as exact_layer_norm
from landscape.quant.softmax import MAX_TOKENS, SoftmaxTable, uniform_softmax

_product = compiled(float32.product)
_total = compiled(float32.total)
_requantized = compiled(float32.requantized)
_layer_norm = compiled(float32.layer_norm)
_softmax = compiled(float32.softmax)
_centred = compiled(float32.centred)

_LARGEST_FACTOR = 8


def product(a: Bytes, b: Bytes, scale: float, target: Target, way: str) -> Tensor | None:
    """Codes of `scale` a b: (..., R, K) with (..., K, C)."""
    depth = a.codes.shape[-1]
    if a.factors is not None or b.factors is not None or target.factors is not None or depth > LARGEST_DEPTH:
        return None
    if a.codes.shape[:-2] != b.codes.shape[:-2]:
        return None
    sums, rows, columns = _sums(a, b, way)
    step = a.scale * b.scale * scale
    gain = torch.tensor(step / target.step, device=sums.device)
    fast = _product(sums, rows, columns, gain, target.zero, target.highest)
    if fast is None:
        codes = target.exact((sums.double() + rows - columns) * step)
    else:

        def exact(where: tuple[Tensor, ...]) -> Tensor:
            group, row = where[:2]
            integers = sums[group, row].double()
            integers = integers + rows.expand(*sums.shape[:2], 1)[group, row]
            integers = integers - columns.expand(sums.shape[0], 1, sums.shape[2])[group, 0]
            return target.exact(integers * step)

        codes = settle(fast, exact)
    return codes.reshape(*a.codes.shape[:-1], b.codes.shape[-1])


def _sums(a: Bytes, b: Bytes, way: str) -> tuple[Tensor, Tensor, Tensor]:
    """Sums (G, R, C), and what is to be added per row and taken off per column to give the integer product.

    sum (a - za)(b - zb) = sum a' b' - zb' sum a' - za' sum (b - zb) with a' = a - shift, za' = za - shift likewise.
    """
    groups, device = a.codes.shape[:-2].numel(), a.codes.device
    if way == FLOAT or device.type != "cpu":  # int8 products of a GPU come in multiples of 8 only, and one by one
        dtype = exact_float(a.codes.shape[-1] * 255.0 * 255.0)
        first, second = a.codes.to(dtype) - a.zero_point, b.codes.to(dtype) - b.zero_point
        none = torch.zeros(1, 1, 1, dtype=torch.int32, device=device)
        return torch.matmul(first, second).reshape(groups, *first.shape[-2:-1], second.shape[-1]), none, none
    shift = 0 if way == UNSIGNED else 128
    first, row_sums = _centre(a.codes, shift)
    second, column_sums = _centre(b.codes.transpose(-2, -1), 128)  # sums along K need it last
    depth, zero_a, zero_b = a.codes.shape[-1], a.zero_point - shift, b.zero_point - 128
    first, second = first.reshape(groups, *first.shape[-2:]), second.reshape(groups, *second.shape[-2:])
    rows = row_sums.reshape(groups, -1, 1) * -zero_b
    columns = (column_sums.reshape(groups, 1, -1) - depth * zero_b) * zero_a
    return multiply_pairs(first, second.transpose(-2, -1)), rows, columns


def _centre(codes: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    found = _centred(codes, shift)
    found = float32.centred(codes, shift) if found is None else found
    return found[0].contiguous(), found[1]


def total(a: Bytes, b: Bytes, target: Target) -> Tensor | None:
    """Codes of a + b, where b has the shape of a or is one value for all images."""
    if a.codes.shape != b.codes.shape and b.codes.shape != (1, *a.codes.shape[1:]):
        return None
    first, restore = _in_rows(a.codes, target.factors is not None)
    if first is None:
        return None
    second, _ = _in_rows(b.codes, restore is not None)
    assert second is not None
    if restore is not None and (a.factors is not None or b.factors is not None or target.factors is not None):
        return None
    zero_a, gain_a = _term(a, target)
    zero_b, gain_b = _term(b, target)
    fast = _total(first, zero_a, gain_a, second, zero_b, gain_b, target.zero, target.highest)
    if fast is None:
        codes = target.exact(_value(a, first) + _value(b, second))
    else:

        def exact(where: tuple[Tensor, ...]) -> Tensor:
            image, row = where[:2]
            other = second.expand_as(first)
            return target.exact(_value(a, first[image, row]) + _value(b, other[image, row]))

        codes = settle(fast, exact)
    return codes.reshape(a.codes.shape) if restore is None else codes.reshape(restore).permute(0, 3, 1, 2)


def _in_rows(codes: Tensor, last: bool) -> tuple[Tensor | None, tuple[int, ...] | None]:
    """Codes as (N, rows, C), and where their channels were moved to the end, the shape that has them there."""
    if codes.ndim == 4 and not codes.is_contiguous() and codes.permute(0, 2, 3, 1).is_contiguous():
        moved = codes.permute(0, 2, 3, 1)
        return moved.reshape(moved.shape[0], -1, moved.shape[-1]), tuple(moved.shape)
    if codes.ndim < 2:
        return None, None
    return codes.reshape(codes.shape[0], -1, codes.shape[-1]), None


def _term(x: Bytes, target: Target) -> tuple[Tensor, Tensor]:
    device = target.zero.device
    step = torch.tensor(x.scale, dtype=torch.float64, device=device)
    if x.factors is not None:
        step = step * x.factors
    return torch.tensor(float(x.zero_point), device=device), (step / target.scale).float()


def _value(x: Bytes, codes: Tensor) -> Tensor:
    integers = codes.double() - x.zero_point
    return (integers if x.factors is None else integers * x.factors) * x.scale


def requantized(x: Bytes, target: Target) -> Tensor | None:
    """The codes that `target` gives to a value that is quantized otherwise."""
    if target.factors is not None or x.factors is not None:
        return None
    rows = x.codes.reshape(-1, x.codes.shape[-1])
    zero, gain = _term(x, target)
    fast = _requantized(rows, zero, gain, target.zero, target.highest)
    codes = (
        target.exact(_value(x, rows))
        if fast is None
        else settle(fast, lambda where: target.exact(_value(x, rows[where[0]])))
    )
    return codes.reshape(x.codes.shape)


def layer_norm(x: Bytes, weight: Tensor, bias: Tensor, eps: float, target: Target) -> Tensor | None:
    """Codes of a float LayerNorm over the last axis."""
    channels = x.codes.shape[-1]
    if channels > float32.LARGEST_NORM or target.factors is not None:
        return None
    rows = x.codes.reshape(-1, channels)
    scale = torch.tensor(x.scale, dtype=torch.float64)
    weight, bias = weight.double(), bias.double()

    def value(codes: Tensor) -> Tensor:
        integers = codes.double() - x.zero_point
        return exact_layer_norm(integers if x.factors is None else integers * x.factors, scale, weight, bias, eps)

    epsilon = (eps * channels**2 / (scale * scale)).to(rows.device)
    fast = _layer_norm(
        rows,
        torch.tensor(float(x.zero_point), device=rows.device),
        x.factors,
        epsilon,
        (weight / target.scale).float(),
        (bias / target.scale + target.zero_point).float(),
        target.highest,
    )
    if fast is None:
        codes = target.exact(value(rows))
    else:
        codes = settle(fast, lambda where: target.exact(value(rows[where[0]])))
    return codes.reshape(x.codes.shape)


def softmax(x: Bytes, table: SoftmaxTable, target: Target) -> Tensor | None:
    """Codes of a uniform softmax over the last axis."""
    tokens = x.codes.shape[-1]
    if tokens > MAX_TOKENS or target.factors is not None or x.factors is not None:
        return None
    rows = x.codes.reshape(-1, tokens)
    powers = torch.exp(-x.scale * 2.0 ** torch.arange(8, dtype=torch.float64)).float().to(rows.device)
    fast = _softmax(rows, powers, target.inverse, target.zero, target.highest)

    def exact(codes: Tensor) -> Tensor:
        return target.exact(uniform_softmax(codes.double() - x.zero_point, table))

    codes = exact(rows) if fast is None else settle(fast, lambda where: exact(rows[where[0]]))
    return codes.reshape(x.codes.shape)
