"""An activation function with its quantizer as a piecewise polynomial, for the kernels' float32 path.

The step table is the definition. The polynomial only has to say which step an argument is on, or that it is too close
to call. So no smoothness of the function is assumed: how far the polynomial strays beyond the unit interval around the
true code is computed for the whole real axis, and becomes the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from landscape.engine.native.bounds import EPSILON, MARGIN, SLACK

CELLS = 32
DEGREE = 4

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Polynomials p_i(x) on cells of equal width, x from 0 to 1 within each.

    Attributes:
        start: Where cell 0 begins.
        width: Of a cell, a power of two, so that kinks at simple numbers lie between cells.
        coefficients: float32 (DEGREE + 1, CELLS), by power.
        stray: How far the polynomial goes beyond the unit interval around the code, anywhere, in codes.
        slope: Bound of |p'|, in codes per cell.
    """

    start: float
    width: float
    coefficients: NDArray[np.float32]
    stray: float
    slope: float

    def tolerance(self, argument: float) -> float:
        """How far the kernel's number may be outside of the code's unit interval.

        Args:
            argument: Bound of the argument's error, in cells.

        Returns:
            The stray, plus the argument's error times the slope, plus Horner's rounding errors: the coefficient of
            power j takes part in at most 2 j + 1 roundings (it is a float32 number itself).
        """
        if not math.isfinite(argument):
            return math.inf
        sizes = np.abs(self.coefficients.astype(np.float64))
        weights = 2.0 * np.arange(DEGREE + 1.0) + 1.0
        horner = EPSILON * float((weights[:, None] * sizes).sum(0).max())
        return MARGIN * (self.stray + self.slope * argument + horner) + SLACK


def fit_curve(function: Callable[[Vector], Vector], thresholds: Vector, codes: Vector, highest: float) -> Curve:
    """Fit a curve to a step function.

    Args:
        function: float64 argument to number in units of codes, zero point included, not clamped.
        thresholds: Ascending; `codes[i]` holds from thresholds[i - 1] on, up to thresholds[i].
        codes: One more.
        highest: The largest code.

    Returns:
        The curve; its stray is infinite where the thresholds spread too far for it.
    """
    low, high = (float(thresholds[0]), float(thresholds[-1])) if thresholds.size else (0.0, 1.0)
    width = _cell_width(low, high)
    if width is None:
        return Curve(0.0, 1.0, np.zeros((DEGREE + 1, CELLS), np.float32), math.inf, 0.0)
    start = _start(low, width)
    nodes = (1.0 - np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))) / 2.0
    arguments = start + width * (np.arange(CELLS)[:, None] + nodes)
    with np.errstate(over="ignore", under="ignore"):
        values = np.clip(function(arguments.reshape(-1)).reshape(arguments.shape), -1e6, 1e6)
    if thresholds.size == 0:
        values = np.full_like(values, codes[0])
    solved = np.linalg.solve(np.vander(nodes, increasing=True), values.T)
    coefficients = solved.astype(np.float32)
    exact = coefficients.astype(np.float64)
    slope = float((np.arange(DEGREE + 1.0)[:, None] * np.abs(exact)).sum(0).max())
    stray = _stray(exact, (thresholds - start) / width, codes, highest)
    jumps = np.abs(exact.sum(0)[:-1] - exact[0, 1:])
    return Curve(start, width, coefficients, stray + float(jumps.max()), slope)


def _cell_width(low: float, high: float) -> float | None:
    """The smallest power of two with which 32 cells from a multiple of it on reach from low beyond high."""
    span = (high - low) / (CELLS - 1)
    if not 0.0 < span < 1e30 or max(abs(low), abs(high)) > 1e15 * span:
        return 1.0 if low == high and abs(low) < 1e15 else None
    width = 2.0 ** math.ceil(math.log2(span))
    while _start(low, width) + CELLS * width <= high:
        width *= 2.0
    return float(width)


def _start(low: float, width: float) -> float:
    """The largest multiple of the width below the first threshold."""
    return (math.ceil(low / width) - 1) * width


def _stray(coefficients: Vector, thresholds: Vector, codes: Vector, highest: float) -> float:
    """Largest excess beyond [code - 1/2, code + 1/2] over all cells; arguments in cells from the start."""
    worst = 0.0
    for cell in range(CELLS):
        polynomial = coefficients[:, cell]
        inside = thresholds[(thresholds > cell) & (thresholds < cell + 1)] - cell
        edges = np.concatenate([[0.0], inside, [1.0]])
        first = int(np.searchsorted(thresholds, cell, side="right"))
        turns = _turns(polynomial)
        for index, (left, right) in enumerate(pairwise(edges)):
            code = codes[first + index]
            points = np.array([left, right, *turns[(turns > left) & (turns < right)]])
            values = np.polynomial.polynomial.polyval(points, polynomial)
            above = float(values.max()) - (code + 0.5) if code < highest else 0.0
            below = code - 0.5 - float(values.min()) if code > 0 else 0.0
            worst = max(worst, above, below)
    return worst


def _turns(polynomial: Vector) -> Vector:
    """Where the polynomial's derivative is zero."""
    roots = np.polynomial.polynomial.polyroots(np.polynomial.polynomial.polyder(polynomial))
    return np.asarray(roots.real[np.abs(roots.imag) < 1e-6])
