r"""What "the gradient" of a rounding means: the estimators, and the quantizers that carry them.

A quantizer computes u = x / s + z, q = clamp(round(u), qmin, qmax) and x' = (q - z) s. Write r = q - u for its rounding
residual. Differentiable here is a *surrogate*: it has the exact value at the point where it is taken, and in its
neighbourhood it is

.. math:: \hat q(u') = u' + r \;\text{ where } q_{min} < u < q_{max}, \qquad \hat q(u') = q \;\text{ elsewhere}

with r, q and "where" frozen at the point. So x' = x + r s inside the range: the straight-through estimate is the exact
gradient of this smooth function, dx'/ds = q - z - x/s and dx'/dx = 1 inside, q - z and 0 outside (LSQ, Esser et al.,
ICLR 2020, arXiv 1902.08153, eq. 3), and its second derivatives, which `landscape.curvature` uses, are defined too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import UserError
from landscape.quant.qparams import CodeRange, channel_view


@dataclass(frozen=True)
class Estimator:
    """Through which roundings a derivative passes; the others are the step functions that they are.

    Attributes:
        weights: Weight codes follow the scale (straight-through); else they are constant, dw'/ds = q - z.
        activations: Activation codes follow value and scale; else they are constant, and nothing passes through them.
    """

    weights: bool
    activations: bool


ESTIMATORS: dict[str, Estimator] = {
    "straight-through": Estimator(weights=True, activations=True),
    "frozen-weights": Estimator(weights=False, activations=True),
    "almost-everywhere": Estimator(weights=False, activations=False),
}
"""Estimators by name.

``straight-through``: LSQ, through weights and activations. With weight correction (**released**) the straight-through
codes are standardized like the real ones, and the derivative passes through that as well.

``frozen-weights`` (**ours**): weight codes stay what they are, so dw'/ds = q - z, as the loss does between two flips of
weight codes; activations straight-through. With weight correction it is zero for every weight scale, because the
corrected weight depends on the codes only (but for channels whose codes are all equal).

``almost-everywhere``: the true derivative of the loss, which exists wherever no value lies on a rounding border.
Activation codes are constant as well, so with quantized activations it is **zero for every weight scale**, and not zero
only for the scale of the last quantizer before the logits. With float activations (``a32``) it is `frozen-weights`.
"""


def estimator(name: str) -> Estimator:
    """An estimator by name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in ESTIMATORS:
        raise UserError(f"unknown gradient estimator {name!r}; give one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


Anchors = dict[str, Tensor]
"""Values at the point where the surrogate is taken, by quantizer: what its residuals are frozen at."""


def followed(codes: Tensor, u: Tensor, bits: int, anchor: Tensor | None = None) -> Tensor:
    """Codes that follow u = x / s + z with derivative one inside the code range, with zero outside.

    Args:
        codes: The integers q, of the shape and dtype of `u`.
        u: Before rounding; carries the graph.
        bits: Of the code range.
        anchor: u at the point where the surrogate is taken; None where it is taken here.

    Returns:
        Exactly `codes` in value where u is the anchor, else codes + (u - anchor) inside.
    """
    low, high = CodeRange(bits).qmin, CodeRange(bits).qmax
    fixed = u.detach() if anchor is None else anchor
    inside = ((fixed > low) & (fixed < high)).to(u.dtype)
    return codes + inside * (u - fixed)


class Follow(torch.autograd.Function):
    """A given value that follows x with derivative one strictly inside a range, and zero outside.

    One comparison in the backward pass and nothing in the forward pass: activations are large. Differentiable again.
    """

    @staticmethod
    def forward(x: Tensor, value: Tensor, low: float, high: float, factor: Tensor | None) -> Tensor:
        """`value`; the range is low .. high times `factor` (1 if None)."""
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what decides the range."""
        x, _, ctx.low, ctx.high, factor = inputs
        ctx.save_for_backward(x if factor is None else x / factor)
        ctx.save_for_forward(x if factor is None else x / factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient inside the range."""
        (relative,) = ctx.saved_tensors
        return _gate(gradient, relative.detach(), ctx.low, ctx.high), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *others: Any) -> Tensor:
        """The tangent inside the range."""
        (relative,) = ctx.saved_tensors
        return _gate(tangent, relative.detach(), ctx.low, ctx.high)


def follow_from(anchor: Tensor, x: Tensor, value: Tensor, low: float, high: float, factor: Tensor | None) -> Tensor:
    """The same away from the point: value + (x - anchor) where the anchor lies inside."""
    relative = anchor if factor is None else anchor / factor
    return value + _gate(x - anchor, relative, low, high)


def _gate(gradient: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The gradient where low < x < high, else zero; one pass over memory."""
    gated: Tensor = torch.ops.aten.hardtanh_backward(gradient, x, low, high)
    return gated


def effective_weight(
    weight: Tensor,
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    bits: int,
    follow: bool,
    standardize: bool,
    anchor: Tensor | None = None,
) -> Tensor:
    """The dequantized weight as a differentiable function of its scales.

    Args:
        weight: Float weight, float64 (out, ...).
        codes: Its integer codes at these scales, float64 (out, ...).
        scale: float64 (out,); carries the graph.
        zero_point: float64 (out,).
        bits: Of the codes.
        follow: Whether codes follow the scale (straight-through).
        standardize: Whether each channel gets the float weight's mean and standard deviation (**released** correction).
        anchor: The scales that the codes belong to, where they are not these.

    Returns:
        float64 (out, ...).
    """
    axes = weight.ndim
    s, z = channel_view(scale, axes, 0), channel_view(zero_point, axes, 0)
    fixed = None if anchor is None else weight / channel_view(anchor, axes, 0) + z
    integers = (followed(codes, weight / s + z, bits, fixed) if follow else codes) - z
    if not standardize:
        return integers * s
    return _standardized(integers.reshape(len(scale), -1), weight.reshape(len(scale), -1), scale).reshape(weight.shape)


def _standardized(integers: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Rows with the mean and standard deviation of the weight's rows: the differentiable twin of `match_moments`."""
    mean = weight.mean(1, keepdim=True)
    centred = integers - integers.mean(1, keepdim=True)
    spread = centred.square().sum(1, keepdim=True)
    varies = spread > 0
    if bool(varies.all()):  # no dependence on the scale but through the codes
        return mean + torch.sqrt((weight - mean).square().sum(1, keepdim=True) / spread) * centred
    # Rows without spread take the scale as their factor; 1.0 keeps the branch that is not taken free of 0 / 0.
    ratio = torch.sqrt((weight - mean).square().sum(1, keepdim=True) / torch.where(varies, spread, 1.0))
    return mean + torch.where(varies, ratio, scale.unsqueeze(1)) * centred
