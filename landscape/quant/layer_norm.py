"""LayerNorm of integer codes: float LayerNorm from exact sums, and the released integer LayerNorm.

Input are the integers c = (code - zero point) * 2^exponent of a row of D channels with one scale s (see
``power_of_two``). S1 = sum c, S2 = sum c^2 and V = D S2 - S1^2 = D^2 variance are integers. They are exact in float64,
in any order of summation, while D S2 < 2^53; D max|c| <= 94.9e6 suffices, which 8-bit codes with factors up to 8 keep
for D <= 46,500 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.quant.square_root import square_root

_EXACT = 2.0**53
_FACTOR_BITS = 7
_LARGEST_SHIFT = 31


def layer_norm(c: Tensor, scale: Tensor | float, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Float LayerNorm of the values c * scale along the last axis, elementwise from exact sums (**ours**).

    y = (D c - S1) / sqrt(V + eps D^2 / s^2) * weight + bias. It is the usual LayerNorm with numerator and denominator
    multiplied by D / s, so that everything before the square root is an integer but for eps.

    Args:
        c: integer-valued float64, shape (..., D).
        scale: positive, float64 of shape () or a number.
        weight: shape (D,).
        bias: shape (D,).
        eps: added to the variance of c * scale, positive.

    Returns:
        Values, float64, shape of ``c``. A constant row gives the bias.

    Raises:
        ValueError: if ``eps`` is not positive or the sums are too large to be exact.
    """
    if not eps > 0.0:
        raise ValueError(f"eps is {eps}; expected a positive number")
    channels = c.shape[-1]
    total, spread = _row_sums(c)
    denominator = square_root(spread + eps * channels**2 / (scale * scale))
    return (channels * c - total) / denominator * weight.to(torch.float64) + bias.to(torch.float64)


def rms_norm(c: Tensor, scale: Tensor | float, weight: Tensor, eps: float, floor: float) -> Tensor:
    """The values c * scale along the last axis over their root mean square, elementwise from exact sums (**ours**).

    y = D c / max(sqrt(D S2 + eps D^2 / s^2), floor D / s) * weight: as `layer_norm`, without the mean.

    Args:
        c: integer-valued float64, shape (..., D).
        scale: positive, float64 of shape () or a number.
        weight: shape (D,).
        eps: added to the mean square of c * scale, not negative.
        floor: least root mean square; ``floor`` and ``eps`` are not both zero.

    Returns:
        Values, float64, shape of ``c``.

    Raises:
        ValueError: if neither eps nor floor is positive, or the sums are too large to be exact.
    """
    if not (eps > 0.0 or floor > 0.0):
        raise ValueError(f"eps is {eps} and floor {floor}; expected one of them to be positive")
    channels = c.shape[-1]
    squares = _squares(c)
    denominator = torch.clamp_min(square_root(squares + eps * channels**2 / (scale * scale)), floor * channels / scale)
    return channels * c / denominator * weight.to(torch.float64)


def integer_layer_norm(
    c: Tensor, scale: Tensor | float, weight: Tensor, bias: Tensor, output_scale: Tensor | float
) -> Tensor:
    """Integer LayerNorm along the last axis (**released**, QIntLayerNorm of FQ-ViT, arXiv 2111.13824).

    With mean = S1 / D s, std = s / D sqrt(V) and A = s / std * weight / output_scale, the factor |A| is replaced by
    M 2^-N, M an integer of 8 bits: N = clamp(7 - floor(log2 |A|), 0, 31), M = clamp(floor(|A| 2^N), 0, 255);
    B = round((bias - mean / std * weight) / output_scale 2^N); y = round((sign(A) M c + B) 2^-N). There is no eps.

    For 2^-24 <= |A| < 256, y differs from the exact (c s - mean) / std * weight + bias, in units of output_scale, by at
    most |A c| / 128 + 2^-(N + 1) + 1/2 (M is truncated, and multiplies c, not c minus its mean). Larger |A| saturate
    at M = 255, as released. The logarithm is read from the binary exponent and therefore exact. A constant row, where
    the released code divides by zero, gives round(bias / output_scale) up to a double rounding (**ours**).

    Args:
        c: integer-valued float64, shape (..., D).
        scale: positive, float64 of shape () or a number.
        weight: shape (D,).
        bias: shape (D,).
        output_scale: positive, float64 of shape () or (D,), or a number.

    Returns:
        Integers y, float64, shape of ``c``; the value is y * output_scale, its code clamp(y + zero point).

    Raises:
        ValueError: if the sums are too large to be exact.
    """
    channels = c.shape[-1]
    weight, bias = weight.to(torch.float64), bias.to(torch.float64)
    total, spread = _row_sums(c)
    std = scale / channels * square_root(spread)
    varies = spread > 0
    inverse = torch.where(varies, scale / std, 0.0)
    mean_over_std = torch.where(varies, total / channels * scale / std, 0.0)
    a = inverse * weight / output_scale
    m, power = _factor_and_power(a.abs())
    b = torch.round((bias - mean_over_std * weight) / output_scale * power)
    return torch.round((a.sign() * m * c + b) / power)


def _row_sums(c: Tensor) -> tuple[Tensor, Tensor]:
    """S1 and V = D S2 - S1^2 along the last axis, kept as an axis of length 1; exact or refused."""
    total = c.sum(-1, keepdim=True)
    return total, _squares(c) - total * total


def _squares(c: Tensor) -> Tensor:
    """D S2 along the last axis; exact or refused."""
    channels = c.shape[-1]
    squares = channels * (c * c).sum(-1, keepdim=True)
    # D S2 >= S1^2, so this bounds all sums. Written to refuse NaN as well.
    if not bool((squares < _EXACT).all()):
        raise ValueError(
            f"a norm over {channels} channels got codes up to {float(c.abs().max()):g}; exact sums need "
            "channels * sum of squares < 2^53"
        )
    return squares


def _factor_and_power(a: Tensor) -> tuple[Tensor, Tensor]:
    """M and 2^N with M 2^-N just below ``a`` >= 0; a = 0 gives M = 0, N = 31, as its logarithm is minus infinity."""
    exponent = torch.frexp(a).exponent
    n = (_FACTOR_BITS + 1 - exponent).clamp(0, _LARGEST_SHIFT)
    n = torch.where(a > 0, n, _LARGEST_SHIFT)
    powers = torch.tensor([2.0**i for i in range(_LARGEST_SHIFT + 1)], dtype=torch.float64, device=a.device)
    power = powers[n.long()]
    return torch.floor(a * power).clamp(0, 2 ** (_FACTOR_BITS + 1) - 1), power
