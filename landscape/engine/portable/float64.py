"""Codes from float64 arithmetic that a compiler may arrange as it likes, with the rows that it does not decide.

A compiled kernel may contract a * b + c to one rounding, divide by multiplying with a reciprocal, and sum in another
order; parameters are folded together beforehand, so that little is left to do for every number. So a kernel's t = value
/ scale + zero point differs from what the reference computes by a few roundings. It is given a bound e >= |t - t'|:
where t lies farther than e from every tie k + 1/2, both round to the same code. Rows in which some t does not are
returned as *doubtful*, and computed again as the reference does; since e is about 10^-10, and what is added to it below
10^-7, there are next to none but in networks whose values lie on ties exactly.

What t - round(t) is gets compared in float32: half as many vectors. Whatever a comparison or a maximum would do is done
by `relu` and sums: on CPUs that is one instruction, where the others take four, since they make masks or look for NaN.

The bound. u = 2^-53 is float64's unit roundoff. Both t and t' are sums of terms x p with exact integers x. In either, a
term is multiplied by no more than 10 factors 1 + d, |d| <= u, in any arrangement. Here a folded parameter carries at
most 5 (quotient, product, and the sums that fold it), its product with x 1 and the sums behind it 2; LayerNorm's 1 /
sqrt carries 3, its weight 1, its two products and the sum 3. In the reference (sums times scale, plus totals times
offset, plus bias, over scale, plus zero point; or LayerNorm's formula, then the last two) it is at most 8. So
|t - t'| <= 20 u M, where M bounds the sum of the terms' magnitudes, and `error_bound` takes 24 u M for the rounding of
M and of e, and an absolute `_SLACK` for the rounding of |t - round(t)| + e where it matters, below 1.

In float64 nothing depends on how close a bound M is: where parameters are folded, M is the sum of what each part can be
at most. Parameters so large that t is infinite or NaN make the row doubtful, since sums over a row pass them on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from landscape.engine.portable.activations import FAST, UNIT64
from landscape.engine.portable.products import integer_product

_FACTORS = 24.0

_SLACK = 2.0**-50

LARGEST_NORM = 4096
"""Channels for which LayerNorm's sums are exact in float32: 4096 (8 255)^2 splits into two sums below 2^24."""


def error_bound(magnitudes: Tensor) -> Tensor:
    """Bound e of the error, from the sum of the terms' magnitudes in units of the output's scale; float64."""
    return magnitudes * (_FACTORS * UNIT64) + _SLACK


def tie_limit(magnitudes: Tensor) -> Tensor:
    """How far from a whole number any t may lie and its code be decided nevertheless, float32 ().

    1/2 - e for the largest e, less 2^-24: the float32 |t - round(t)| may be off by 2^-26, and so may this number.
    """
    return (0.5 - error_bound(magnitudes).amax() - 2.0**-24).float()


def clamped(nearest: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Whole numbers, float64, as codes uint8; the ends float32 ()."""
    codes = nearest.to(torch.float32)  # straight from float64 to uint8 is slow
    return (highest - relu(highest - lowest - relu(codes - lowest))).to(torch.uint8)


def settled(t: Tensor, limit: Tensor, lowest: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes uint8 (..., C), and for each row, float32 (...), more than 0 or NaN where any of them is doubtful.

    Args:
        t: float64 (..., C).
        limit: float32 (), see `tie_limit`.
        lowest: float32 (), the smallest code.
        highest: float32 (), the largest code.
    """
    nearest = torch.round(t)
    far = (t - nearest).to(torch.float32).abs()
    return clamped(nearest, lowest, highest), relu(far - limit).sum(-1)


def value_of(sums: Tensor, gain: Tensor, offset: Tensor | None, bias: Tensor) -> Tensor:
    """A layer's value: gain * sums + offset * totals + bias; see `layer`."""
    outputs = gain.shape[-1]
    value: Tensor = sums[..., :outputs].to(torch.float64) * gain + bias
    return value if offset is None else value + sums[..., outputs : outputs + 1].to(torch.float64) * offset


def layer(
    sums: Tensor, gain: Tensor, offset: Tensor | None, bias: Tensor, limit: Tensor, lowest: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes of a linear layer or convolution from its integer sums.

    Args:
        sums: (rows, more than C): products of stored codes and weights; column C holds the sum of the row's codes. Of a
            convolution by groups (rows, groups, more than C); what is (C,) below is (groups, C) then.
        gain: float64 (C,), in units of the output's scale.
        offset: float64 (C,) that multiplies the row's sum, or None.
        bias: float64 (C,): the bias, the output's zero point, and what the zero points of inputs and weights take off.
        limit: float32 (), see `tie_limit`.
        lowest: float32 (), the smallest code: 0, or where an activation function clamps.
        highest: float32 (), the largest code.

    Returns:
        Codes (rows, C) and doubtful rows (rows,), or (rows, groups, C) and (rows, groups); see `settled`.
    """
    return settled(value_of(sums, gain, offset, bias), limit, lowest, highest)


def tiles_with_activation(
    sums: Tensor,
    rows: Tensor,
    tiles: Tensor,
    places: Tensor,
    gain: Tensor,
    offset: Tensor | None,
    bias: Tensor,
    error: Tensor,
    relative: Tensor,
    inverse: Tensor,
    zero: Tensor,
    lowest: Tensor,
    highest: Tensor,
    function: str,
) -> tuple[Tensor, Tensor]:
    """Codes of an activation function of a layer's value, for some tiles of channels.

    Args:
        sums: (rows, more than C), as in `layer`; the groups of a row are rows here.
        rows: int64 (n,), rows of the tiles.
        tiles: int64 (n,), their number along the channels.
        places: int64 (n,), their number among all parameters: of all groups.
        gain: float64 (tiles, tile) or (groups, tiles, tile), in the layer's own unit; so are those below.
        offset: float64 or None.
        bias: float64, without the output's zero point.
        error: float64; the error's bound is error + relative |x|, see `activation_bound`.
        relative: float64 ().
        inverse: float64 (), 1 / scale of the output.
        zero: float64 (), its zero point.
        lowest: float32 (), its smallest code.
        highest: float32 (), its largest code.
        function: Name of one of `FAST`.

    Returns:
        Codes (n, tile) and doubtful numbers (n, tile).
    """
    count, tile = gain.shape[-2:]
    outputs = count * tile

    def of(parameter: Tensor) -> Tensor:
        return parameter.flatten(0, -2)[places]

    integers = sums[:, :outputs].unflatten(-1, (count, tile))[rows, tiles]  # type: ignore[no-untyped-call]
    x = integers.to(torch.float64) * of(gain) + of(bias)
    if offset is not None:
        x = x + sums[:, outputs][rows].to(torch.float64).unsqueeze(-1) * of(offset)
    t = FAST[function].function(x) * inverse + zero
    nearest = torch.round(t)
    far = (t - nearest).abs() + of(error) + x.abs() * relative
    return clamped(nearest, lowest, highest), ~(far < 0.5)


def activation_bound(function: str, magnitudes: Tensor, scale: float, zero_point: float) -> tuple[Tensor, float]:
    """Bounds E and R: |t - t'| <= E + R |x| for an activation function f of a layer's value x.

    The error of x, 24 u M, enters t through f's steepest slope L; f has an error of its own; f(x) / scale + zero point
    has 4 factors more here and there, in terms of at most L |x| / scale (f is 0 at 0) and the zero point.

    Args:
        function: Name of one of `FAST`.
        magnitudes: float64 (C,), M of x.
        scale: Of the output.
        zero_point: Of the output.
    """
    f = FAST[function]
    relative = (f.error64 + 8.0 * UNIT64 * f.slope) / scale * 1.01
    return magnitudes * (_FACTORS * UNIT64 * f.slope / scale) + (8.0 * UNIT64 * zero_point + _SLACK), relative


def product(
    sums: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    gain: Tensor,
    zero: Tensor,
    limit: Tensor,
    lowest: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of a product of activations.

    Args:
        sums: (G, R, C), integers.
        rows: int32 (G, R, 1), added to them, or None.
        columns: int32 (G, 1, C), taken off them, or None.
        gain: float64 (), in units of the output's scale.
        zero: float64 (), its zero point.
        limit: float32 (), see `tie_limit`.
        lowest: float32 ().
        highest: float32 ().
    """
    integers = integer_product(sums, rows, columns)
    return settled(integers.to(torch.float64) * gain + zero, limit, lowest, highest)


def total(
    a: Tensor,
    gain_a: Tensor,
    b: Tensor,
    gain_b: Tensor,
    zero: Tensor,
    limit: Tensor,
    lowest: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of a sum.

    Args:
        a: uint8 (X, R, C).
        gain_a: float64 () or (C,): its scale (times factors) in units of the output's.
        b: uint8, (X, R, C) or (1, R, C).
        gain_b: ...
        zero: float64 () or (C,): the output's zero point, less what those of a and b take off.
        limit: float32 (), see `tie_limit`.
        lowest: float32 ().
        highest: float32 ().
    """
    # Straight from uint8 to float64 is slow, here as in `requantized`.
    first, second = (x.to(torch.float32).to(torch.float64) for x in (a, b))
    return settled(first * gain_a + second * gain_b + zero, limit, lowest, highest)


def gated(
    a: Tensor,
    zero_a: Tensor,
    b: Tensor,
    zero_b: Tensor,
    gain: Tensor,
    zero: Tensor,
    limit: Tensor,
    lowest: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of a product, element by element.

    Args:
        a: uint8 (X, R, C).
        zero_a: float32 (), its zero point.
        b: uint8 (X, R, C) or (X, 1, C).
        zero_b: ...
        gain: float64 (): both scales, in units of the output's.
        zero: float64 (): the output's zero point.
        limit: float32 (), see `tie_limit`.
        lowest: float32 ().
        highest: float32 ().
    """
    integers = (a.to(torch.float32) - zero_a) * (b.to(torch.float32) - zero_b)  # below 2^16
    return settled(integers.to(torch.float64) * gain + zero, limit, lowest, highest)


def requantized(
    a: Tensor, gain: Tensor, zero: Tensor, limit: Tensor, lowest: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Codes under another quantizer, as in `total` with one term; uint8 (R, C)."""
    return settled(a.to(torch.float32).to(torch.float64) * gain + zero, limit, lowest, highest)


def layer_norm(
    codes: Tensor,
    zero_point: Tensor,
    factors: Tensor | None,
    epsilon: Tensor,
    weight: Tensor,
    bias: Tensor,
    limit: Tensor,
    lowest: Tensor,
    highest: Tensor,
    floor: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Codes of a norm over the last axis; the formulas of `layer_norm` and `rms_norm` in `landscape.quant.layer_norm`.

    Args:
        codes: uint8 (R, D), D at most `LARGEST_NORM`.
        zero_point: float32 ().
        factors: float32 (D,), powers of two up to 8, or None.
        epsilon: float64 (), eps D^2 / scale^2.
        weight: float64 (D,), in units of the output's scale.
        bias: float64 (D,), the output's zero point added.
        limit: float32 (), see `tie_limit`.
        lowest: float32 ().
        highest: float32 ().
        floor: float64 (), the least denominator of an RMS norm; None for a LayerNorm.
    """
    channels = codes.shape[-1]
    c, ones, spread = _row_sums(codes, zero_point, factors, floor is None)
    denominator = torch.sqrt(spread + epsilon)
    inverse = 1.0 / (denominator if floor is None else torch.maximum(denominator, floor))
    return settled((c * channels - ones).to(torch.float64) * inverse * weight + bias, limit, lowest, highest)


def _row_sums(
    codes: Tensor, zero_point: Tensor, factors: Tensor | None, around_mean: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The integers c of rows, their sums S1 (float32 both), and V = D S2 - S1^2 (float64), all exact.

    S1 is taken for 0 where not `around_mean`.
    """
    c = codes.to(torch.float32) - zero_point
    if factors is not None:
        c = c * factors
    # |c| <= 2040, sums of c are below 2^23; squares (below 2^22) are summed in two parts.
    ones = c.sum(-1, keepdim=True) if around_mean else torch.zeros_like(c[..., :1])
    squares = c * c
    high = torch.floor(squares * 2.0**-12)
    low = squares - high * 4096.0
    second = high.sum(-1, keepdim=True).double() * 4096.0 + low.sum(-1, keepdim=True).double()
    return c, ones, second * codes.shape[-1] - ones.double() * ones.double()


_EXPONENT_BITS = 0x7FF0000000000000


def integer_layer_norm(
    codes: Tensor,
    zero_point: Tensor,
    factors: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    zero: Tensor,
    lowest: Tensor,
    highest: Tensor,
) -> tuple[Tensor, Tensor]:
    """Codes of an integer LayerNorm; the formula of `landscape.quant.layer_norm.integer_layer_norm`.

    A = weight / std and the constant t = bias - mean / std * weight carry up to 11 factors 1 + d, here as there; only
    where M = floor(|A| 2^N) and B = round(t 2^N) are decided all the same is the row not doubtful. All behind is exact.

    Args:
        codes: uint8 (R, D), D at most `LARGEST_NORM`.
        zero_point: float32 ().
        factors: float32 (D,), powers of two up to 8, or None.
        weight: float64 (D,), in units of the output's scale.
        bias: float64 (D,), likewise.
        zero: float64 (), the output's zero point.
        lowest: float32 ().
        highest: float32 ().
    """
    c, ones, spread = _row_sums(codes, zero_point, factors)
    root = torch.sqrt(spread)
    a, shift = codes.shape[-1] / root * weight, ones.to(torch.float64) / root * weight
    size = a.abs()
    leading = (size.view(torch.int64) & _EXPONENT_BITS).view(torch.float64)  # 2^floor(log2 |A|), within N = 31 .. 0
    leading = torch.where(leading > 2.0**-24, leading, 2.0**-24)
    power = 128.0 / torch.where(leading < 128.0, leading, 128.0)
    scaled, constant = size * power, (bias - shift) * power
    m, b = torch.floor(scaled), torch.round(constant)
    of_m = torch.where(size > 0.0, (scaled - m - 0.5).abs() + scaled * (_FACTORS * UNIT64), 0.0)
    of_b = (constant - b).abs() + (bias.abs() + shift.abs()) * power * (_FACTORS * UNIT64) + _SLACK
    m = torch.where(m < 255.0, m, 255.0)
    y = torch.round((torch.where(a < 0.0, -m, m) * c.to(torch.float64) + b) / power) + zero
    return clamped(y, lowest, highest), (relu(of_m - 0.5) + relu(of_b - 0.5)).sum(-1)
