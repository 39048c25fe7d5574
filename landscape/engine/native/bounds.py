"""How far the float32 paths of the kernels may be from the reference's float64 numbers.

A kernel computes a number u in units of codes in float32, and rounds it to a code where it lies farther than a
tolerance from every tie k + 1/2. Below, e = 2^-24 is the largest relative error of one float32 rounding, x' the
computed and x the real value of an expression, and t the reference's float64 number. The error of t itself (a few 2^-53
of the same terms) and terms in e^2 hide in the margin. The kernels round a product and the sum behind it once (with
fused multiply-add) or twice; two roundings are counted.

Only numbers in the range of the codes matter: let -1 <= t <= highest + 1, so |t| <= U = highest + 2. Beyond it, an
error that is small against |t| leaves u on the same side of the range, and the clamp gives the same code.

Layers: t = S G + (T O + B) with integers S, T and constants G, O, B per output.
    f = T O + B:  T, O and B are rounded to float32, then the product, then the sum:
                  |f' - f| <= 3 e |T O| + e |B| + e |f| <= 4 e |T O| + 2 e |B|.
    S G:          S, G and the product are rounded: 3 e |S G|, where |S G| <= |t| + |T O| + |B|.
    sum:          e |t|.
    Together:     4 e U + 7 e |T O| + 5 e |B|.

Sums: t = a A + (b B + z), a and b integers below 2^24, z an integer up to 255.
    a A: 2 e |a A| and the sum with z e (|a A| + z); b B: 2 e |b B|, the last sum e U; |a A| <= U + |b B| + z.
    Together: 4 e U + 4 e z + 5 e |b B|.

LayerNorm: t = m r W + B, with an integer m = D c - S1, r = 1 / sqrt(V + offset) and constants W, B per channel.
    m, r, W and two products are rounded: 5 e |m r W|; B and the sum: e |B| + e U; |m r W| <= U + |B|.
    Together: 6 e U + 6 e |B|.

Integer LayerNorm: t = F c + s with F = sign(A) M 2^-N exact, s = B - m W rounded to a multiple of 2^-N, a mean m of the
row, and constants W (weight), B per channel. F c is exact, of 20 bits.
    m, W and the product are rounded: 3 e |m W|; B, the sum with it and the last sum: e |B| + e (|m W| + |B|) + e U.
    Together: e U + 2 e |B| + 4 e |m W|. What rounding to a multiple adds, the kernel knows of each row.

Softmax: t = p R + z, p a term and R = 1 / (sum of terms * scale).
    p, R and the product are rounded: 3 e |p R|, the sum e U; |p R| <= U + z.
    Together: 4 e U + 3 e z.

Where a constant is not a float32 number of ordinary size, the tolerance is infinite, and every code comes from float64.
"""

from __future__ import annotations

import math

from torch import Tensor

EPSILON = 2.0**-24

MARGIN = 1.01
"""Covers what is of second order, and the float64 errors: those are below 2^-27 of the terms counted."""

SLACK = 2.0**-30
"""In codes: products too small for full float32 precision, and ties that float64 itself rounds to."""

LARGEST = 1e28
"""Of a constant, so that no product with an int32 overflows float32."""

LARGEST_SATURATED = 2.0**29
"""Numbers below it, and their errors, round to int32."""


def _largest(values: Tensor | None) -> float:
    return 0.0 if values is None or values.numel() == 0 else float(values.abs().max())


def _bound(*terms: float, constants: tuple[Tensor | None, ...]) -> float:
    """Sum of terms in units of e, or infinity where a constant is too large, or not finite."""
    if not all(_largest(values) < LARGEST for values in constants):
        return math.inf
    return MARGIN * EPSILON * sum(terms) + SLACK


def layer_bound(gain: Tensor, offset: Tensor | None, bias: Tensor, highest: float) -> tuple[float, float]:
    """Tolerance of a layer, and what is added to it for each unit of |T|.

    Args:
        gain: G, float64 (outputs,).
        offset: O, likewise, or None.
        bias: B, likewise.
        highest: Largest code (or the largest number that the clamp lets pass).
    """
    tolerance = _bound(4 * (highest + 2), 5 * _largest(bias), constants=(gain, offset, bias))
    return tolerance, MARGIN * EPSILON * 7 * _largest(offset) if math.isfinite(tolerance) else 0.0


def sum_bound(a_gain: Tensor, b_gain: Tensor | None, b_largest: float, zero_point: float, highest: float) -> float:
    """Tolerance of a sum.

    Args:
        a_gain: A, float64 (channels,).
        b_gain: B, likewise; None for a single operand.
        b_largest: Largest |b|.
        zero_point: z.
        highest: Largest code.
    """
    terms = (4 * (highest + 2), 4 * zero_point, 5 * b_largest * _largest(b_gain))
    return _bound(*terms, constants=(a_gain, b_gain))


def layer_saturates(
    gain: Tensor, offset: Tensor | None, bias: Tensor, depth: int, largest_weight: int, highest: float
) -> bool:
    """Whether a layer's u fits into int32 for all activations, so that packing may clamp it to 0 .. 255.

    Args:
        gain: G, float64 (outputs,).
        offset: O, likewise, or None.
        bias: B, likewise.
        depth: Inputs of each output.
        largest_weight: Largest centred code of the weight.
        highest: The largest code.
    """
    largest = depth * 255 * (largest_weight * _largest(gain) + _largest(offset)) + _largest(bias)
    return highest == 255 and largest < LARGEST_SATURATED


def norm_saturates(gain: Tensor, shift: Tensor, highest: float) -> bool:
    """The same for a LayerNorm, whose normalised numbers do not exceed the square root of the number of channels."""
    return highest == 255 and math.sqrt(gain.numel()) * _largest(gain) + _largest(shift) < LARGEST_SATURATED


def softmax_saturates(scale: Tensor, highest: float) -> bool:
    """The same for a softmax, whose probabilities do not exceed 1."""
    return highest == 255 and 1.0 / float(scale) < LARGEST_SATURATED


def norm_bound(gain: Tensor, shift: Tensor, highest: float) -> float:
    """Tolerance of a LayerNorm: `gain` is W, `shift` B, float64 (channels,)."""
    return _bound(6 * (highest + 2), 6 * _largest(shift), constants=(gain, shift))


def integer_norm_bound(gain: Tensor, shift: Tensor, highest: float) -> tuple[float, float]:
    """Tolerance of an integer LayerNorm, and what is added to it for each unit of |m|; `gain` is W, `shift` B."""
    tolerance = _bound(highest + 2, 2 * _largest(shift), constants=(gain, shift))
    return tolerance, MARGIN * EPSILON * 4 * _largest(gain) if math.isfinite(tolerance) else 0.0


def softmax_bound(scale: Tensor, zero_point: float, highest: float) -> float:
    """Tolerance of a softmax with an output quantizer of this scale and zero point."""
    return _bound(4 * (highest + 2), 3 * zero_point, constants=(scale, 1.0 / scale))
