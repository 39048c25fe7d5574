"""Codes from float32 arithmetic, with the rows in which float32 does not decide them.

A kernel computes t = value / scale + zero point in float32, so that the code is round(t), clamped. Beside t it computes
a bound e >= |t - t'|, where t' is what the reference computes in float64. Where t lies farther than e from every tie
k + 1/2, both round to the same code. The kernel returns, for every row, whether some t of the row does not: those rows
are *doubtful*, and are computed again in float64.

The bounds. u = 2^-24 is float32's unit roundoff: every +, *, / and every conversion of an integer or of a float64
parameter multiplies its result by some 1 + d, |d| <= u. Products of n such factors differ from 1 by less than 1.01 n u
as long as n < 10^4. So in a sum of terms, computed as fl(fl(x1 p1 + x2 p2) + b) with integers x and rounded parameters
p and b, a term x p carries at most: 1 for x, 1 for p, 1 for the product, 1 for each sum behind it. The kernels take the
number of factors per term, a quarter more for the reference's own rounding (some 10 2^-53) and for the rounding of e
itself, and multiply it with the sum of the terms' magnitudes. Contraction of a * b + c to one rounding, a division
computed as a product with the reciprocal (2 factors in place of 1, counted) or another order of summation (counted as
the number of terms) stay within these bounds, so they hold however a compiler arranges the kernel. Parameters so large
or small that float32 overflows give infinite or NaN t or e: then no comparison holds, and the row is doubtful.
Underflow, an absolute error below 2^-100, is covered by ``_SLACK``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.engine.portable.activations import FAST

UNIT = 2.0**-24

_SLACK = 2.0**-40

LARGEST_NORM = 4096
"""Channels for which LayerNorm's sums are exact in float32: 4096 (8 255)^2 splits into two sums below 2^24."""


def _settled(t: Tensor, error: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes uint8 (..., C), and which rows are doubtful, bool (...)."""
    nearest = torch.round(t)
    # Both subtractions are exact where they matter: t and its neighbour share their exponent or cancel (Sterbenz).
    margin = ((t - nearest).abs() - 0.5).abs() - (error + _SLACK)
    codes = torch.minimum(nearest.clamp(min=0.0), highest).to(torch.uint8)
    return codes, ~(margin.amin(-1) > 0.0)


def _layer(
    sums: Tensor,
    base: Tensor,
    shift: Tensor | None,
    gain: Tensor,
    row_base: Tensor,
    offset: Tensor | None,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The value gain * integers + offset * totals + bias, and the sum of the terms' magnitudes; see `layer`."""
    tiles, tile = gain.shape
    outputs = tiles * tile
    totals = sums[:, outputs : outputs + 1].to(torch.int32).unsqueeze(-1)
    integers = sums[:, :outputs].unflatten(-1, (tiles, tile)).to(torch.int32) - base  # type: ignore[no-untyped-call]
    if shift is not None:
        integers = integers + totals * shift
    term = integers.to(torch.float32) * gain
    value, size = term + bias, term.abs() + bias.abs()
    if offset is not None:
        second = (totals - row_base).to(torch.float32) * offset
        value, size = value + second, size + second.abs()
    return value, size


def layer(
    sums: Tensor,
    base: Tensor,
    shift: Tensor | None,
    gain: Tensor,
    row_base: Tensor,
    offset: Tensor | None,
    bias: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of a linear layer or convolution from its integer sums.

    The C channels are cut into tiles, so that little is computed anew for a doubtful code: parameters of channels have
    the shape (tiles, tile), and every tile of a row is one row of the result.

    Args:
        sums: (rows, more than C): products of stored codes and weights; column C holds the sum of the row's codes.
        base: int32 (tiles, tile), taken off the sums.
        shift: int32 (tiles, tile) that multiplies the row's sum, or None.
        gain: float32 (tiles, tile), in units of the output's scale.
        row_base: int32 (), taken off the row's sum.
        offset: float32 (tiles, tile) that multiplies the row's sum, or None.
        bias: float32 (tiles, tile), the output's zero point added.
        highest: float32 (), the largest code.

    Returns:
        Codes (rows, tiles, tile) and doubtful tiles (rows, tiles); see `_settled`.
    """
    t, size = _layer(sums, base, shift, gain, row_base, offset, bias)
    return _settled(t, size * (5.25 * UNIT), highest)  # x, p, product, two sums


def layer_with_activation(
    sums: Tensor,
    base: Tensor,
    shift: Tensor | None,
    gain: Tensor,
    row_base: Tensor,
    offset: Tensor | None,
    bias: Tensor,
    inverse: Tensor,
    zero: Tensor,
    highest: Tensor,
    function: str,
) -> tuple[Tensor, Tensor]:
    """The same with an activation function between the layer and the quantizer.

    Args:
        sums: These seven as in `layer`, but in the layer's own unit, without the zero point.
        base: ...
        shift: ...
        gain: ...
        row_base: ...
        offset: ...
        bias: ...
        inverse: float32 (), 1 / scale of the output.
        zero: float32 (), its zero point.
        highest: float32 ().
        function: Name of one of `FAST`.
    """
    x, size = _layer(sums, base, shift, gain, row_base, offset, bias)
    activation = FAST[function]
    scaled = activation.function(x) * inverse
    # The layer's error through the steepest slope, the function's own, and 1 / scale, the product and the last sum.
    inner = size * (5.25 * UNIT * activation.slope) + x.abs() * activation.error
    error = inner * inverse * (1.0 + 4.0 * UNIT) + (scaled.abs() + zero) * (3.25 * UNIT)
    return _settled(scaled + zero, error, highest)


def product(
    sums: Tensor, rows: Tensor, columns: Tensor, gain: Tensor, zero: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes of a product of activations.

    Args:
        sums: (G, R, C), integers.
        rows: int32 (G or 1, R or 1, 1), added to them.
        columns: int32 (G or 1, 1, C or 1), taken off them.
        gain: float32 (), in units of the output's scale.
        zero: float32 (), its zero point.
        highest: float32 ().
    """
    term = (sums.to(torch.int32) + rows - columns).to(torch.float32) * gain
    return _settled(term + zero, (term.abs() + zero) * (4.25 * UNIT), highest)


def total(
    a: Tensor, zero_a: Tensor, gain_a: Tensor, b: Tensor, zero_b: Tensor, gain_b: Tensor, zero: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes of a sum.

    Args:
        a: uint8 (X, R, C).
        zero_a: float32 (), its zero point.
        gain_a: float32 () or (C,): its scale (times factors) in units of the output's.
        b: uint8, (X, R, C) or (1, R, C).
        zero_b: ...
        gain_b: ...
        zero: float32 ().
        highest: float32 ().
    """
    first = (a.to(torch.float32) - zero_a) * gain_a
    second = (b.to(torch.float32) - zero_b) * gain_b
    size = first.abs() + second.abs() + zero
    return _settled(first + second + zero, size * (5.25 * UNIT), highest)


def requantized(a: Tensor, zero_a: Tensor, gain: Tensor, zero: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes under another quantizer, as in `total` with one term; uint8 (R, C)."""
    term = (a.to(torch.float32) - zero_a) * gain
    return _settled(term + zero, (term.abs() + zero) * (4.25 * UNIT), highest)


def layer_norm(
    codes: Tensor,
    zero_point: Tensor,
    factors: Tensor | None,
    epsilon: Tensor,
    weight: Tensor,
    bias: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of a LayerNorm over the last axis; the formula of `landscape.quant.layer_norm.layer_norm`.

    Args:
        codes: uint8 (R, D), D at most `LARGEST_NORM`.
        zero_point: float32 ().
        factors: float32 (D,), powers of two up to 8, or None.
        epsilon: float64 (), eps D^2 / scale^2.
        weight: float32 (D,), in units of the output's scale.
        bias: float32 (D,), the output's zero point added.
        highest: float32 ().
    """
    channels = codes.shape[-1]
    c = codes.to(torch.float32) - zero_point
    if factors is not None:
        c = c * factors
    # All integers below are exact: |c| <= 2040, sums of c below 2^23; squares (below 2^22) are summed in two parts.
    ones = c.sum(-1, keepdim=True)
    squares = c * c
    high = torch.floor(squares * 2.0**-12)
    low = squares - high * 4096.0
    second = high.sum(-1, keepdim=True).double() * 4096.0 + low.sum(-1, keepdim=True).double()
    spread = second * channels - ones.double() * ones.double()
    inverse = (1.0 / torch.sqrt(spread + epsilon)).to(torch.float32)
    term = (c * channels - ones) * inverse * weight
    t = term + bias
    return _settled(t, (term.abs() + bias.abs()) * (6.25 * UNIT), highest)


def softmax(codes: Tensor, powers: Tensor, inverse: Tensor, zero: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of a softmax of 8-bit logits, over the last axis.

    exp(-s d) is a product over the bits of the distance d from the largest logit: no function that a device might
    compute in its own way. 8 rounded factors and 7 products make 15 factors 1 + d; the sum over T terms as many and
    T - 1 more, the division, 1 / scale, the product and the reciprocal 5, the last sum 1. The reference's terms are
    rounded to multiples of 2^-40: at most 2^-41 / scale more, and T 2^-41 relative, far below T u.

    Args:
        codes: uint8 (R, T).
        powers: float32 (8,): exp(-s 2^k).
        inverse: float32 (), 1 / scale of the output.
        zero: float32 ().
        highest: float32 ().
    """
    logits = codes.to(torch.int32)
    distance = logits.amax(-1, keepdim=True) - logits
    bits = [((distance >> bit) & 1).to(torch.float32) for bit in range(8)]
    parts = [bit * power + (1.0 - bit) for bit, power in zip(bits, powers.unbind(), strict=True)]  # exact: one is 0
    terms = ((parts[0] * parts[1]) * (parts[2] * parts[3])) * ((parts[4] * parts[5]) * (parts[6] * parts[7]))
    scaled = terms * (inverse / terms.sum(-1, keepdim=True))
    tokens = codes.shape[-1]
    error = scaled * ((56.0 + tokens) * 1.02 * UNIT) + zero * (2.0 * UNIT) + inverse * 2.0**-40
    return _settled(scaled + zero, error, highest)


def centred(codes: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Codes minus `shift` as int8 or, without one, the codes; and their sums along the last axis, int32 (..., 1).

    Args:
        codes: uint8 (..., K), K at most 65,000.
        shift: 0 or 128.
    """
    values = codes.to(torch.float32) - shift
    sums = values.sum(-1, keepdim=True).to(torch.int32)
    return values.to(torch.int8 if shift else torch.uint8), sums
