"""Codes from float32 arithmetic, with the rows in which float32 does not decide them.

A kernel computes t = value / scale + zero point in float32, so that the code is round(t), clamped. It is given, or
computes beside t, a bound e >= |t - t'|, where t' is what the reference computes in float64. Where t lies farther than
e from every tie k + 1/2, both round to the same code. The kernel returns, for every row, whether some t of the row
does not: those rows are *doubtful*, and are computed again in float64.

The bounds. u = 2^-24 is float32's unit roundoff: every +, *, / and every conversion of an integer or of a float64
parameter multiplies its result by some 1 + d, |d| <= u. Products of n such factors differ from 1 by less than 1.01 n u
as long as n < 10^4. So in a sum of terms, computed as fl(fl(x1 p1 + x2 p2) + b) with integers x and rounded parameters
p and b, a term x p carries at most: 1 for x, 1 for p, 1 for the product, 1 for each sum behind it. A bound is the
largest number of factors of any term, a quarter more for the reference's own rounding (some 10 2^-53) and for the
rounding of e itself, times the sum of the terms' magnitudes. Contraction of a * b + c to one rounding, a division
computed as a product with the reciprocal (2 factors in place of 1, counted) or another order of summation (counted as
the number of terms) stay within these bounds, so they hold however a compiler arranges the kernel.

What takes few operations per number, as layers and products do, is as fast in float64, where next to no row is
doubtful: see `float64`. Here is what takes many.

Parameters so large or small that float32 overflows give infinite or NaN t or e, which sums over a row pass on: then the
row is doubtful. ``_SLACK`` covers the rounding of |t - round(t)| + e (u at most where it matters, below 1: the
difference is exact), and underflow, an absolute error below 2^-100.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from landscape.engine.portable.activations import FAST, UNIT

_SLACK = 2.0**-22


def _nearest(t: Tensor, error: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes uint8, and |t - round(t)| + e."""
    nearest = torch.round(t)
    far = (t - nearest).abs() + error
    return (highest - relu(highest - relu(nearest))).to(torch.uint8), far


def _layer(
    sums: Tensor,
    base: Tensor,
    shift: Tensor | None,
    gain: Tensor,
    row_base: Tensor,
    offset: Tensor | None,
    bias: Tensor,
) -> Tensor:
    """The value gain * integers + offset * totals + bias: 5 factors at most (x, p, product, two sums)."""
    outputs = gain.shape[-1]
    integers = sums[..., :outputs].to(torch.int32) - base
    if shift is None and offset is None:  # there may be no totals
        return integers.to(torch.float32) * gain + bias
    totals = sums[..., outputs : outputs + 1].to(torch.int32)
    if shift is not None:
        integers = integers + totals * shift
    value: Tensor = integers.to(torch.float32) * gain + bias
    return value if offset is None else value + (totals - row_base).to(torch.float32) * offset


def layer_with_activation(
    sums: Tensor,
    base: Tensor,
    shift: Tensor | None,
    gain: Tensor,
    row_base: Tensor,
    offset: Tensor | None,
    bias: Tensor,
    error: Tensor,
    relative: Tensor,
    inverse: Tensor,
    zero: Tensor,
    highest: Tensor,
    function: str,
) -> tuple[Tensor, Tensor]:
    """Codes of an activation function of a layer's value, gain * integers + offset * totals + bias, in its own unit.

    Args:
        sums: (rows, more than C): products of stored codes and weights; column C holds the totals, sums of the row's
            codes. Of a convolution by groups (rows, groups, more than C); what is (C,) below is (groups, C) then.
        base: int32 (C,), taken off the sums.
        shift: int32 (C,) that multiplies the totals in the integers, or None.
        gain: float32 (C,).
        row_base: int32, taken off the totals where `offset` multiplies them.
        offset: float32 (C,), or None.
        bias: float32 (C,).
        error: float32 (C,); the error's bound is error + relative |x|, see `activation_bound`.
        relative: float32 ().
        inverse: float32 (), 1 / scale of the output.
        zero: float32 (), its zero point.
        highest: float32 ().
        function: Name of one of `FAST`.

    Returns:
        Codes and, for every number, 1 where it is doubtful, else 0; uint8 (rows, C) both. Bool would be slow to write.
    """
    x = _layer(sums, base, shift, gain, row_base, offset, bias)
    t = FAST[function].function(x) * inverse + zero
    codes, far = _nearest(t, error + x.abs() * relative, highest)
    return codes, torch.where(far < 0.5, 0.0, 1.0).to(torch.uint8)  # so that NaN is doubtful


def activation_bound(function: str, others: Tensor, scale: float, zero_point: float) -> tuple[Tensor, float]:
    """Bounds E and R: |t - t'| <= E + R |x| for an activation function f of a layer's value x.

    x has 5 factors, so its error is at most 5 u (|x| + 2 B). It enters t through f's steepest slope L; f has an error
    of its own; and f(x) / scale + zero point has 3 factors more, in terms of at most L |x| / scale (f is 0 at 0) and z.

    Args:
        function: Name of one of `FAST`.
        others: float64 (C,): B, what x adds to its largest term.
        scale: Of the output.
        zero_point: Of the output.
    """
    f = FAST[function]
    relative = (5.25 * UNIT * f.slope + f.error + 3.25 * UNIT * f.slope) / scale
    return others * (2.0 * 5.25 * UNIT * f.slope / scale) + (3.25 * UNIT * zero_point + _SLACK), relative * 1.01


def softmax(logits: Tensor, powers: Tensor, inverse: Tensor, zero: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of a softmax of integer logits, over the last axis.

    exp(-s d) is a product over the bits of the distance d from the largest logit: no function that a device might
    compute in its own way. B rounded factors and B - 1 products make 2 B - 1 factors 1 + d; the sum over T terms as
    many and T - 1 more, the division, 1 / scale, the product and the reciprocal 5, the last sum 1: below 4 B + T + 24.
    The reference's terms are rounded to multiples of 2^-40 (0 beyond its table, where they are below 2^-41): at most
    2^-41 / scale more, and T 2^-41 relative, far below T u.

    Args:
        logits: (R, T): uint8, then B is 8; or int32, then B is 16, and distances from 2^16 - 1 on are taken for that.
        powers: float32 (B,): exp(-s 2^k).
        inverse: float32 (), 1 / scale of the output.
        zero: float32 ().
        highest: float32 ().
    """
    count = 8 if logits.dtype == torch.uint8 else 16
    tokens = logits.shape[-1]
    if count == 8:  # the maximum of floats is far quicker to find
        numbers = logits.to(torch.float32)
        distance = (numbers.amax(-1, keepdim=True) - numbers).to(torch.int32)
    else:
        distance = (logits.amax(-1, keepdim=True) - logits).clamp(max=2**16 - 1)
    bits = [((distance >> bit) & 1).to(torch.float32) for bit in range(count)]
    parts = [bit * power + (1.0 - bit) for bit, power in zip(bits, powers.unbind(), strict=True)]  # exact: one is 0
    while len(parts) > 1:
        parts = [first * second for first, second in zip(parts[::2], parts[1::2], strict=True)]
    (terms,) = parts
    scaled = terms * (inverse / terms.sum(-1, keepdim=True))
    error = scaled * ((4.0 * count + tokens + 24.0) * 1.02 * UNIT)
    error = error + (zero * (2.0 * UNIT) + inverse * 2.0**-40 + _SLACK)
    nearest, far = _nearest(scaled + zero, error, highest)
    return nearest, relu(far - 0.5).sum(-1)


LARGEST_POWER = 15
"""Of Log-Int-Softmax: its integers are powers of two in two bytes."""


def log_softmax(
    logits: Tensor, inverse: Tensor, m: Tensor, b: Tensor, c: Tensor, error: Tensor, smallest: int
) -> tuple[Tensor, Tensor]:
    """Codes of Log-Int-Softmax of integer logits, over the last axis; see `landscape.quant.softmax.log_int_softmax`.

    A term is (r (r + b) + c) 2^-q, in units of 2^30, with q = floor(d / m) and r = q m - d. q is exact, since the
    computed (d + 1/2) / m lies about 1 / (2 m) from any integer, and so is r. r (r + b) carries 4 factors 1 + d, c 1,
    the sum 1; the difference is no smaller than half of c, so a term's relative error stays below 20 u. The sum of T
    terms adds T - 1, the division 1: below (T + 40) u in all. The code is the number of thresholds below sum / term,
    rounded: of 3/2 2^k - 1/2, and for k = 0 of 3/2. Rows where that error could change the number are doubtful.

    Args:
        logits: uint8 (R, T).
        inverse: float32 (), 1 / m.
        m: float32 (), distances that halve a term.
        b: float32 ().
        c: float32 ().
        error: float32 (), (T + 40) u.
        smallest: The largest code but that of zero, at most `LARGEST_POWER`; the code of zero is one more.
    """
    numbers = logits.to(torch.float32)
    distance = numbers.amax(-1, keepdim=True) - numbers
    distance = torch.where(distance < 30.0 * m, distance, 30.0 * m)
    q = torch.floor((distance + 0.5) * inverse)
    r = q * m - distance
    power = ((127 - q.to(torch.int32)) << 23).view(torch.float32)  # 2^-q
    terms = (r * (r + b) + c) * power
    ratio = terms.sum(-1, keepdim=True) / terms
    above, below = ratio * (1.0 + error), ratio * (1.0 - error)
    codes, fewer = torch.zeros_like(ratio), torch.zeros_like(ratio)
    for k in range(smallest + 1):
        threshold = max(1.5 * 2.0**k - 0.5, 1.5)
        codes = codes + torch.where(above > threshold, 1.0, 0.0)
        fewer = fewer + torch.where(below > threshold, 1.0, 0.0)
    return codes.to(torch.uint8), (codes - fewer).sum(-1)


def powers(codes: Tensor, smallest: int) -> Tensor:
    """2^(smallest - code), or 0 where the code is larger, in two bytes: uint8 (2, ...), the low ones first."""
    number = ((127 + smallest - codes.to(torch.int32)) << 23).view(torch.float32)
    low = torch.where(number < 256.0, number, 0.0)
    high = torch.where(number < 256.0, 0.0, number * 2.0**-8)
    return torch.stack([torch.where(low < 1.0, 0.0, low), high]).to(torch.uint8)


LARGEST_DEPTHWISE = 257
"""Numbers of a window for which `depthwise` is exact: 257 255^2 stays below 2^24."""


def depthwise(
    codes: Tensor,
    weight: Tensor,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Sums of a convolution of each channel by itself: integers below 2^24 in float32, exact in any order.

    Args:
        codes: uint8 (N, H, W, C), padded.
        weight: float32 (kh kw, C): integers up to 255 in magnitude.
        size: Height and width of the output.
        kernel: kh and kw, at most `LARGEST_DEPTHWISE` together.
        stride: Down and to the right.
        dilation: Likewise.

    Returns:
        int32 (N, height, width, C).
    """
    sums = None
    for i in range(kernel[0]):
        rows = codes[:, i * dilation[0] :][:, :: stride[0]][:, : size[0]]
        for j in range(kernel[1]):
            part = rows[:, :, j * dilation[1] :][:, :, :: stride[1]][:, :, : size[1]]
            product = part.to(torch.float32) * weight[i * kernel[1] + j]
            sums = product if sums is None else sums + product
    assert sums is not None
    return sums.to(torch.int32)


def row_sums(codes: Tensor) -> Tensor:
    """Sums of codes along the last axis, int32 (..., 1); uint8 (..., K), K at most 65,000: exact in float32."""
    return codes.to(torch.float32).sum(-1, keepdim=True).to(torch.int32)
