"""Activation functions in float32, from +, *, / and comparisons alone, with bounds of their errors.

An exponential or an error function of a device's library has the error that its maker says; these have the error that
is derived here. Activation functions that are not in the table are left to the step tables of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import polynomial
from scipy.special import erf
from torch import Tensor

UNIT = 2.0**-24

# erf(y) ~ y P(y^2) / Q(y^2) on [-4, 4], fitted by least squares with weights that even out the error. All coefficients
# are positive: nothing cancels. They are rounded to float32.
_P = tuple(
    float(np.float32(c)) for c in (1.12837898, 0.196242083, 0.0534665419, 4.00333742e-3, 2.88032122e-4, 1.97485503e-6)
)
_Q = tuple(float(np.float32(c)) for c in (1.0, 0.507246180, 0.116473550, 0.0154438152, 1.21628021e-3, 3.74806286e-5))
_END = 4.0
_HALF_ROOT = 0.5**0.5


@dataclass(frozen=True)
class FastActivation:
    """A function in float32.

    Attributes:
        function: Of a float32 tensor.
        slope: Bound of the function's steepest slope.
        error: |computed - true| <= error |x| for every float32 x.
    """

    function: Callable[[Tensor], Tensor]
    slope: float
    error: float


def _gelu(x: Tensor) -> Tensor:
    y = (x * _HALF_ROOT).clamp(-_END, _END)
    square = y * y
    p, q = torch.full_like(square, _P[-1]), torch.full_like(square, _Q[-1])
    for a, b in zip(_P[-2::-1], _Q[-2::-1], strict=True):
        p, q = p * square + a, q * square + b
    return x * 0.5 * (1.0 + y * p / q)


def _gelu_error() -> float:
    """Bound of |computed - x Phi(x)| / |x|.

    x Phi(x) = x (1 + erf(y)) / 2, y = x / sqrt 2. Let E be the error of the computed erf. It has four parts:
    the fit (measured at 10^5 points; between them it changes by less than the spacing times its slope, below 2e-9); the
    rounding of P and Q, at most sum (2 i + 1) u c_i y^2i each (Horner's rule, Higham, Accuracy and Stability, eq. 5.3),
    relative; 1 + d for the product with y and 2 for the division; and y itself, off by 2 u relative, which moves erf by
    at most 2 u max y erf'(y) < u, and y^2 by u, which moves P / Q by less than u y^2 |(log P/Q)'| < u.
    Outside [-4, 4] erf is within 1.6e-8 of its end value. Then |error| <= |x| / 2 (E + 4 u (1 + erf)).
    """
    y = np.linspace(0.0, _END, 100_001)
    square, order = y * y, 2.0 * np.arange(len(_P)) + 1.0
    p, q = polynomial.polyval(square, _P), polynomial.polyval(square, _Q)
    fit = np.abs(y * p / q - erf(y)) + 2e-9
    rounding = (
        (polynomial.polyval(square, order * _P) / p + polynomial.polyval(square, order * _Q) / q + 3.0) * y * p / q
    )
    worst = float((fit + rounding * UNIT * 1.01).max()) + 1.6e-8 + 2.0 * UNIT
    return 0.5 * (worst + 8.0 * UNIT) * 1.01


def _hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3.0).clamp(0.0, 6.0) / 6.0


FAST = {
    "gelu": FastActivation(_gelu, 1.13, _gelu_error()),
    "relu": FastActivation(lambda x: x.clamp(min=0.0), 1.0, 0.0),
    "relu6": FastActivation(lambda x: x.clamp(0.0, 6.0), 1.0, 0.0),
    # x (x + 3) / 6: a sum, a division (or product with a reciprocal) and a product, of a value up to |x|
    "hardswish": FastActivation(lambda x: x * _hardsigmoid(x), 1.5, 5.0 * UNIT),
}
"""Those that networks of this field use most. Each computes 0 at 0, so that an error relative to |x| is possible."""
