"""Activation functions in float32, from +, *, / and comparisons alone, with bounds of their errors, in float64 too.

An exponential or an error function of a device's library has the error that its maker says; these have the error that
is derived here. Activation functions that are not in the table are left to the step tables of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor

UNIT = 2.0**-24
"""Unit roundoff of float32."""

UNIT64 = 2.0**-53
"""Unit roundoff of float64."""


@dataclass(frozen=True)
class _Rational:
    """y P(y^2) / Q(y^2), close to an odd function that goes to 1, on [-end, end].

    Attributes:
        p: Coefficients of P. They and those of Q are positive, so that nothing cancels, and rounded to float32.
        q: Of Q.
        end: Beyond it the function is taken for its value there.
        true: The function.
    """

    p: tuple[float, ...]
    q: tuple[float, ...]
    end: float
    true: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def __call__(self, y: Tensor) -> Tensor:
        """The function of a tensor."""
        y = y.clamp(-self.end, self.end)
        square = y * y
        result: Tensor = y * _horner(self.p, square) / _horner(self.q, square)
        return result

    def error(self, argument: float, unit: float) -> float:
        """Bound of |computed - true|.

        The error has five parts: the fit (measured at 10^5 points; between them it changes by less than the spacing
        times its slope, below 2e-9); the rounding of P and Q, at most sum (2 i + 1) u c_i y^2i each (Horner's rule,
        Higham, Accuracy and Stability, eq. 5.3), relative; 1 + d for the product with y and 2 for the division; that of
        y^2 by u, which moves P / Q by less than u y^2 |(log P/Q)'| < u; and y itself. What the function changes by
        beyond the end is added.

        Args:
            argument: How far y is off, relative, in units of u: it moves the function by as much times max y f'(y), for
                which 1/2 is a bound (erf: 0.49, tanh: 0.45).
            unit: u of the arithmetic.
        """
        y = np.linspace(0.0, self.end, 100_001)
        square = y * y
        p, q = (polynomial.polyval(square, np.array(c)) for c in (self.p, self.q))
        found = y * p / q
        parts = [polynomial.polyval(square, (2.0 * np.arange(len(c)) + 1.0) * c) for c in (self.p, self.q)]
        rounding = (parts[0] / p + parts[1] / q + 3.0) * found
        worst = float((np.abs(found - self.true(y)) + 2e-9 + rounding * unit * 1.01).max())
        beyond = 1.0 - float(self.true(np.array([self.end]))[0])
        return worst + beyond + (1.0 + argument / 2.0) * unit


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    result = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        result = result * x + c
    return result


def _float32(*coefficients: float) -> tuple[float, ...]:
    return tuple(float(np.float32(c)) for c in coefficients)


# Fitted by least squares, with weights that even out the error.
_ERF = _Rational(
    _float32(1.12837898, 0.196242083, 0.0534665419, 4.00333742e-3, 2.88032122e-4, 1.97485503e-6),
    _float32(1.0, 0.507246180, 0.116473550, 0.0154438152, 1.21628021e-3, 3.74806286e-5),
    4.0,
    erf,
)
_TANH = _Rational(
    _float32(0.999999996, 0.137818532, 4.00410576e-3, 3.14979279e-5, 5.04691431e-8),
    _float32(1.0, 0.471151845, 0.0277214122, 4.19960223e-4, 1.61069457e-6, 7.31870161e-10),
    9.0,
    np.tanh,
)


@dataclass(frozen=True)
class FastActivation:
    """A function in float32.

    Attributes:
        function: Of a float32 tensor.
        slope: Bound of the function's steepest slope.
        error: |computed - true| <= error |x| for every float32 x.
        error64: The same of float64 x and arithmetic: little more than what the fit is off by.
    """

    function: Callable[[Tensor], Tensor]
    slope: float
    error: float
    error64: float


def _gated(gate: _Rational, argument: Callable[[Tensor], Tensor], off: float, slope: float) -> FastActivation:
    """The function x (1 + g(y)) / 2 with an argument y(x) whose relative error is at most `off` u.

    If E bounds the error of g, |computed - true| <= |x| / 2 (E + 4 u (1 + g)).
    """
    error, error64 = (0.5 * (gate.error(off, unit) + 8.0 * unit) * 1.01 for unit in (UNIT, UNIT64))
    return FastActivation(lambda x: x * 0.5 * (1.0 + gate(argument(x))), slope, error, error64)


_ROOT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def _argument_of_gelu_tanh(x: Tensor) -> Tensor:
    return x * (_ROOT_2_OVER_PI * 0.044715 * x * x + _ROOT_2_OVER_PI)


def _hardsigmoid(x: Tensor) -> Tensor:
    return (x + 3.0).clamp(0.0, 6.0) / 6.0


FAST = {
    "gelu": _gated(_ERF, lambda x: x * math.sqrt(0.5), 2.0, 1.13),
    # a rounded constant, its product with x and with x again, the sum with another, the product with x
    "gelu_tanh": _gated(_TANH, _argument_of_gelu_tanh, 6.0, 1.13),
    "silu": _gated(_TANH, lambda x: x * 0.5, 0.0, 1.1),
    # x (x + 3) / 6: a sum, a division (or product with a reciprocal) and a product, of a value up to |x|
    "hardswish": FastActivation(lambda x: x * _hardsigmoid(x), 1.5, 5.0 * UNIT, 5.0 * UNIT64),
}
"""Those that networks of this field use most, besides those that only clamp (see `landscape.engine.clamps`). Each
computes 0 at 0, so that an error relative to |x| is possible."""
