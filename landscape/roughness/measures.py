"""Measures of roughness of a surface as it is, each a function of its values and the coordinates of its grid.

Shapes and missing points are as in `landscape.roughness.differences`: `values` may have axes behind the grid's
(resamples), and then the result has those axes; differences that touch a missing point are left out. What cannot be
said (too few points, a flat surface where a ratio is asked for) is NaN. Averages over steps weigh each by the length
that it stands for, so that a line refined in one place counts no more there.
"""

from __future__ import annotations

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.roughness.differences import (
    Axes,
    check,
    equally_spaced,
    first_differences,
    neighbours_along,
    present,
    second_differences,
)
from landscape.roughness.quadratic import ROUNDING, beyond_quadratic


def spread(values: FloatArray, axes: Axes) -> FloatArray:
    """Standard deviation of the values over the grid's points, divisor n; in the value's unit."""
    values = check(values, axes)
    points = values[present(values, axes)]
    return points.std(axis=0) if len(points) else _nothing(values, axes)


def value_range(values: FloatArray, axes: Axes) -> FloatArray:
    """Largest minus smallest value; in the value's unit."""
    values = check(values, axes)
    points = values[present(values, axes)]
    return points.max(axis=0) - points.min(axis=0) if len(points) else _nothing(values, axes)


def total_variation(values: FloatArray, axes: Axes) -> FloatArray:
    """Sum of |differences| of neighbours over the summed length of their steps: value's unit per unit of coordinate.

    Along a monotone line it is the mean slope; every turn adds to it (Jordan's total variation of a function of one
    variable). In a plane, lines along both directions together.
    """
    differences, steps = first_differences(check(values, axes), axes)
    return np.abs(differences).sum(axis=0) / steps.sum() if len(steps) else _nothing(values, axes)


def second_difference(values: FloatArray, axes: Axes) -> FloatArray:
    """Root mean square of the second differences (v_before - 2 v + v_after on equal steps), in the value's unit.

    For a smooth surface it falls with the square of the step, for independent noise of standard deviation s it is
    sqrt(6) s at any step: say the step with it.
    """
    second, lengths = second_differences(check(values, axes), axes)
    return np.sqrt(_weighted(second**2, lengths)) if len(lengths) else _nothing(values, axes)


def relative_second_difference(values: FloatArray, axes: Axes) -> FloatArray:
    """RMS second difference over the range of the values, without unit; NaN for a flat surface.

    4 for a surface that alternates between two values; 0 for a straight one.
    """
    reach = value_range(values, axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(reach > 0, second_difference(values, axes) / reach, np.nan)


def correlation_length(values: FloatArray, axes: Axes) -> FloatArray:
    """Distance at which the surface's autocorrelation has fallen to 1/e, in units of the coordinate.

    The autocorrelation of fitness landscapes (Weinberger 1990), of the values less their mean, over all pairs of
    present points at a lag; the distance is interpolated between lags, with 1 at lag 0, so that it is about 0.63 steps
    for independent noise. In a plane the mean of both directions. NaN for a flat surface.

    Raises:
        UserError: The grid is not equally spaced, so that lags are not distances.
    """
    values = check(values, axes)
    if not equally_spaced(axes):
        raise UserError(
            "the correlation length needs an equally spaced grid, and this one is refined; measure the run it came from"
        )
    there = present(values, axes)
    if not there.any():
        return _nothing(values, axes)
    centred = np.where(there.reshape(*there.shape, *(1,) * (values.ndim - len(axes))), values, np.nan)
    centred = centred - values[there].mean(axis=0)
    variance = values[there].var(axis=0)
    scale = np.square(values[there]).mean(axis=0)
    lengths = [
        _fall(lines, variance) * (axis[1] - axis[0])
        for lines, axis in zip(neighbours_along(centred, axes), axes, strict=True)
        if len(axis) > 1
    ]
    mean = np.mean(lengths, axis=0) if lengths else _nothing(values, axes)
    return np.where(variance > (ROUNDING**2) * scale, mean, np.nan)


def quadratic_residual(values: FloatArray, axes: Axes) -> FloatArray:
    """Root mean square of what the best quadratic leaves, in the value's unit."""
    values = check(values, axes)
    rest = beyond_quadratic(values, axes)[present(values, axes)]
    return np.sqrt(np.square(rest).mean(axis=0)) if len(rest) else _nothing(values, axes)


def quadratic_r2(values: FloatArray, axes: Axes) -> FloatArray:
    """Share of the variance that the best quadratic explains, 0 to 1; NaN for a flat surface."""
    variance = np.square(spread(values, axes))
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = 1.0 - np.square(quadratic_residual(values, axes)) / variance
    return np.where(variance > 0, r2, np.nan)


def largest_jump(values: FloatArray, axes: Axes) -> FloatArray:
    """Largest |difference| between neighbouring points, in the value's unit."""
    differences, steps = first_differences(check(values, axes), axes)
    return np.abs(differences).max(axis=0) if len(steps) else _nothing(values, axes)


def plateau_share(values: FloatArray, axes: Axes) -> FloatArray:
    """Share of the grid's length along which neighbouring points have the same value, 0 to 1.

    Same: to within the rounding of a mean, 1e-12 of the largest |value|.
    """
    values = check(values, axes)
    differences, steps = first_differences(values, axes)
    if not len(steps):
        return _nothing(values, axes)
    largest = np.abs(values[present(values, axes)]).max(axis=0)
    return _weighted((np.abs(differences) <= ROUNDING * largest).astype(np.float64), steps)


def _weighted(rows: FloatArray, weights: FloatArray) -> FloatArray:
    return np.tensordot(weights / weights.sum(), rows, axes=1)


def _nothing(values: FloatArray, axes: Axes) -> FloatArray:
    return np.full(np.shape(values)[len(axes) :], np.nan)


def _fall(lines: FloatArray, variance: FloatArray) -> FloatArray:
    """Lag, in steps, at which the autocorrelation of centred lines (points, lines, ...) first reaches 1/e."""
    target = 1.0 / np.e
    found = np.full(variance.shape, np.nan)
    before = np.ones(variance.shape)
    for lag in range(1, len(lines)):
        products = lines[lag:] * lines[:-lag]
        pairs = products.reshape(-1, *variance.shape)
        pairs = pairs[np.isfinite(pairs).reshape(len(pairs), -1).all(axis=1)]
        if not len(pairs):
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            now = pairs.mean(axis=0) / variance
            crossing = lag - 1 + (before - target) / (before - now)
        found = np.where(np.isnan(found) & (now <= target), crossing, found)
        before = now
        if not np.isnan(found).any():
            break
    return found
