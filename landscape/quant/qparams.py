"""Uniform quantization: code ranges, parameters from a value range, quantize and dequantize.

All arithmetic is float64. A code is an integer held in a float64 tensor, so sums of codes are exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_SCALE = float(torch.finfo(torch.float32).eps)
"""Lower bound of every scale chosen here, 2^-23 (**released**). Keeps the scales of constant tensors positive."""

_MIN_BITS, _MAX_BITS = 2, 16


@dataclass(frozen=True)
class CodeRange:
    """The integer codes qmin..qmax of a quantizer.

    Unsigned: 0..2^bits - 1, with a zero point (affine). Signed: -2^(bits-1)..2^(bits-1) - 1, zero point 0 (symmetric).

    Raises:
        ValueError: if ``bits`` is not an integer from 2 to 16.
    """

    bits: int
    signed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not _MIN_BITS <= self.bits <= _MAX_BITS:
            raise ValueError(f"bits is {self.bits!r}; expected an integer from {_MIN_BITS} to {_MAX_BITS}")

    @property
    def qmin(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else self.steps

    @property
    def steps(self) -> int:
        """Number of steps from the smallest to the largest code, qmax - qmin."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class QParams:
    """Parameters of a uniform quantizer: value = (code - zero_point) * scale.

    Attributes:
        scale: positive, float64; shape () per tensor, (channels,) per channel.
        zero_point: integer-valued float64, same shape, inside the code range: zero is always represented exactly.
    """

    scale: Tensor
    zero_point: Tensor


@dataclass(frozen=True)
class PowerOfTwoQParams:
    """Parameters of a quantizer with power-of-two factors (PTF): value = (code - zero_point) * 2^exponent * scale.

    Attributes:
        scale: scale of factor 1, positive float64, shape ().
        zero_point: integer-valued float64, shape (), shared by all channels.
        exponents: int64, shape (channels,), each 0..3.
    """

    scale: Tensor
    zero_point: Tensor
    exponents: Tensor

    @property
    def channel_scale(self) -> Tensor:
        """Scale 2^exponent * scale of each channel, exact; float64, shape (channels,)."""
        return (1 << self.exponents).to(torch.float64) * self.scale


def choose_qparams(minimum: Tensor, maximum: Tensor, code_range: CodeRange, *, include_zero: bool = False) -> QParams:
    """Scale and zero point that spread the codes over [minimum, maximum].

    Unsigned (**released**): s = (max - min) / (qmax - qmin), z = clamp(qmin - round(min / s), qmin, qmax).
    Signed, symmetric: s = max(|min|, |max|) / qmax, z = 0 (**ours**; the released code divides by (qmax - qmin) / 2
    and so clips the largest value by half a step). Both: s is at least ``SMALLEST_SCALE`` (**released**).

    The zero point is clamped into the code range, so zero is always exact. The released rule does not widen the range
    to hold zero: with min > 0 the zero point becomes qmin, the grid covers [0, max - min] only and larger values are
    clipped; with max < 0 it covers [min - max, 0]. ``include_zero`` widens the range to hold zero first (**ours**),
    after which nothing is off by more than half a step.

    Args:
        minimum: smallest values, shape () or (channels,).
        maximum: largest values, same shape.
        code_range: the codes.
        include_zero: widen the range to [min(minimum, 0), max(maximum, 0)].

    Returns:
        Parameters of the shape of ``minimum``, float64.

    Raises:
        ValueError: if a bound is NaN or infinite, a minimum exceeds its maximum, or a range overflows.
    """
    minimum, maximum = minimum.to(torch.float64), maximum.to(torch.float64)
    _check_bounds(minimum, maximum)
    if include_zero:
        minimum, maximum = minimum.clamp(max=0.0), maximum.clamp(min=0.0)
    if code_range.signed:
        scale = torch.maximum(minimum.abs(), maximum.abs()) / code_range.qmax
        scale = scale.clamp(min=SMALLEST_SCALE)
        return QParams(scale, torch.zeros_like(scale))
    scale = ((maximum - minimum) / code_range.steps).clamp(min=SMALLEST_SCALE)
    if not bool(torch.isfinite(scale).all()):
        raise ValueError("the range max - min overflows float64; expected values far below 1e308")
    zero_point = (code_range.qmin - torch.round(minimum / scale)).clamp(code_range.qmin, code_range.qmax)
    return QParams(scale, zero_point)


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, code_range: CodeRange) -> Tensor:
    """Integer codes clamp(round(x / scale + zero_point), qmin, qmax), rounding half to even.

    The zero point is added *before* rounding, in this order (FQ-ViT, arXiv 2111.13824; **released**). Rounding
    x / scale first would give the same code except where x / scale + zero_point lies exactly between two codes and
    the zero point is odd.

    Args:
        x: values, any shape and floating dtype; NaN stays NaN.
        scale: positive float64, broadcastable to ``x`` (see ``channel_view``).
        zero_point: integer-valued float64, broadcastable to ``x``.
        code_range: the codes.

    Returns:
        Codes, float64, shape of ``x``.
    """
    codes = torch.round(x.to(torch.float64) / scale + zero_point)
    return codes.clamp(code_range.qmin, code_range.qmax)


def dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Values (codes - zero_point) * scale, float64; ``scale`` and ``zero_point`` broadcast to ``codes``."""
    return (codes - zero_point) * scale


def channel_view(vector: Tensor, dimensions: int, axis: int) -> Tensor:
    """View of a per-channel vector that broadcasts along ``axis`` of a tensor with ``dimensions`` dimensions.

    Args:
        vector: shape (channels,), or () which is returned as it is.
        dimensions: number of dimensions of the tensor to broadcast against.
        axis: its channel axis; may be negative.

    Returns:
        Shape (1, .., channels, .., 1).

    Raises:
        ValueError: if ``vector`` has more than one dimension or ``axis`` does not exist.
    """
    if vector.ndim == 0:
        return vector
    if vector.ndim != 1:
        raise ValueError(f"vector has shape {tuple(vector.shape)}; expected () or (channels,)")
    if not -dimensions <= axis < dimensions:
        raise ValueError(f"axis {axis} does not exist in a tensor of {dimensions} dimensions")
    shape = [1] * dimensions
    shape[axis] = -1
    return vector.reshape(shape)


def _check_bounds(minimum: Tensor, maximum: Tensor) -> None:
    if minimum.shape != maximum.shape:
        raise ValueError(f"minimum has shape {tuple(minimum.shape)}, maximum {tuple(maximum.shape)}; expected the same")
    for name, bound in (("minimum", minimum), ("maximum", maximum)):
        if not bool(torch.isfinite(bound).all()):
            raise ValueError(f"{name} holds NaN or infinity; expected finite values")
    if bool((minimum > maximum).any()):
        raise ValueError("a minimum is larger than its maximum")
