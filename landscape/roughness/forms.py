"""Squared measures of a surface: sums of squares of linear functions of it.

Only for these is there an exact, unbiased estimate of the population's (`landscape.roughness.estimate`): the linear
functions of a mean are means of linear functions of the single images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.roughness.differences import Axes, check, first_differences, present, second_differences
from landscape.roughness.quadratic import beyond_quadratic


@dataclass(frozen=True)
class Form:
    """A squared measure.

    Attributes:
        name: Key.
        label: In words.
        rows: From values (grid's shape, units behind it) to rows (K, units) whose squares sum to the measure; linear.
    """

    name: str
    label: str
    rows: Callable[[FloatArray, Axes], FloatArray]

    def measure(self, values: FloatArray, axes: Axes) -> float:
        """The measure of one surface; NaN where no row can be formed."""
        rows = self.rows(check(values, axes), axes)
        return float(np.square(rows).sum()) if len(rows) else float("nan")


def _variance(values: FloatArray, axes: Axes) -> FloatArray:
    points = values[present(values, axes)]
    return np.asarray((points - points.mean(axis=0)) / np.sqrt(len(points))) if len(points) else points


def _squared_variation(values: FloatArray, axes: Axes) -> FloatArray:
    return np.asarray(first_differences(values, axes)[0] / np.sqrt(_lines(axes)))


def _lines(axes: Axes) -> int:
    """Lines of the grid along all directions: 1, or n + m."""
    return 1 if len(axes) == 1 else sum(len(axis) for axis in axes)


def _second_difference(values: FloatArray, axes: Axes) -> FloatArray:
    second, lengths = second_differences(values, axes)
    if not len(second):
        return second
    weights = np.sqrt(lengths / lengths.sum())
    return np.asarray(second * weights.reshape(-1, *(1,) * (second.ndim - 1)))


def _jaggedness(values: FloatArray, axes: Axes) -> FloatArray:
    return _second_difference(beyond_quadratic(values, axes), axes)


def _quadratic_residual(values: FloatArray, axes: Axes) -> FloatArray:
    rest = beyond_quadratic(values, axes)
    points = rest[present(rest, axes)]  # none where there are too few for a quadratic
    return np.asarray(points / np.sqrt(len(points))) if len(points) else points


JAGGEDNESS = Form("jaggedness", "mean squared second difference beyond the best quadratic", _jaggedness)
"""What decides whether a surface is called rough: zero for a bowl, a slope and a plane."""

RESIDUAL = Form("quadratic_residual", "mean squared residual of the best quadratic", _quadratic_residual)

VARIANCE = Form("variance", "variance of the values over the grid", _variance)

FORMS: tuple[Form, ...] = (
    VARIANCE,
    Form("squared_variation", "sum of squared differences along a line", _squared_variation),
    Form("second_difference", "mean squared second difference", _second_difference),
    JAGGEDNESS,
    RESIDUAL,
)
"""All squared measures; in a plane `squared_variation` is the mean over its lines in both directions."""
