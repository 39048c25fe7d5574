"""Differences of a surface between neighbouring points, on equal or unequal spacing, with points missing.

Everywhere in this package: `axes` are the coordinates along each direction, one or two vectors; `values` has the grid's
shape, (n,) or (n, m), or that shape with further axes behind it (images, resamples), which are carried along. A missing
point is NaN in all of them. A difference that touches a missing point is left out; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from landscape.bootstrap import FloatArray

Axes: TypeAlias = Sequence[FloatArray]

_EQUAL = 1e-6
"""Largest relative deviation of a step from the mean step of an axis that counts as equally spaced."""


def check(values: npt.ArrayLike, axes: Axes) -> FloatArray:
    """The values as float64.

    Raises:
        ValueError: If they do not have the grid's shape.
    """
    array = np.asarray(values, dtype=np.float64)
    shape = tuple(len(axis) for axis in axes)
    if array.shape[: len(axes)] != shape:
        raise ValueError(f"values have shape {array.shape}; the grid has shape {shape}")
    return array


def equally_spaced(axes: Axes) -> bool:
    """Whether the steps of each axis are equal (to a millionth of their mean)."""
    steps = [np.diff(axis) for axis in axes if len(axis) > 1]
    return all(bool((np.abs(step - step.mean()) <= _EQUAL * step.mean()).all()) for step in steps)


def present(values: FloatArray, axes: Axes) -> npt.NDArray[np.bool_]:
    """Which points have finite values (on all further axes), of the grid's shape."""
    finite = np.isfinite(values)
    return np.asarray(finite.reshape(*finite.shape[: len(axes)], -1).all(axis=-1))


def first_differences(values: FloatArray, axes: Axes) -> tuple[FloatArray, FloatArray]:
    """Differences between neighbours along each axis in turn.

    Returns:
        Differences in the value's unit, shape (K, ...), and their steps in units of the coordinate, shape (K,).
    """
    parts, steps = [], []
    for number, axis in enumerate(axes):
        difference = np.diff(values, axis=number)
        parts.append(_rows(difference, len(axes)))
        steps.append(_along(np.diff(axis), number, difference.shape[: len(axes)]))
    return _finite(np.concatenate(parts), np.concatenate(steps))


def second_differences(values: FloatArray, axes: Axes) -> tuple[FloatArray, FloatArray]:
    """Second differences along each axis in turn, and the length that each stands for.

    With steps a before and b after a point: 2 (b v_before + a v_after) / (a + b) - 2 v, twice the distance of the chord
    of the neighbours from the point. Equal steps give v_before - 2 v + v_after; divided by a b it is the second
    derivative of a parabola for any steps (the divided difference).

    Returns:
        Second differences in the value's unit, shape (K, ...), and (a + b) / 2 in units of the coordinate, shape (K,).
    """
    parts, lengths = [], []
    for number, axis in enumerate(axes):
        if len(axis) < 3:
            continue
        before, point, after = (_part(values, number, part) for part in (slice(-2), slice(1, -1), slice(2, None)))
        steps = np.diff(axis)
        to_before = steps[:-1] / (steps[:-1] + steps[1:])
        shape = [1] * values.ndim
        shape[number] = -1
        weight = to_before.reshape(shape)
        second = 2.0 * ((1.0 - weight) * before + weight * after - point)
        parts.append(_rows(second, len(axes)))
        lengths.append(_along((steps[:-1] + steps[1:]) / 2, number, second.shape[: len(axes)]))
    if not parts:
        return np.empty((0, *values.shape[len(axes) :])), np.empty(0)
    return _finite(np.concatenate(parts), np.concatenate(lengths))


def neighbours_along(values: FloatArray, axes: Axes) -> list[FloatArray]:
    """The values as lines along each axis in turn: arrays of shape (points along it, lines, ...)."""
    lines = []
    for number in range(len(axes)):
        moved = np.moveaxis(values, number, 0)
        lines.append(moved.reshape(moved.shape[0], -1, *moved.shape[len(axes) :]))
    return lines


def _part(values: FloatArray, axis: int, part: slice) -> FloatArray:
    return values[(slice(None),) * axis + (part,)]


def _rows(values: FloatArray, dims: int) -> FloatArray:
    return values.reshape(-1, *values.shape[dims:])


def _along(steps: FloatArray, axis: int, shape: tuple[int, ...]) -> FloatArray:
    expanded = steps.reshape([-1 if number == axis else 1 for number in range(len(shape))])
    return np.broadcast_to(expanded, shape).ravel()


def _finite(rows: FloatArray, lengths: FloatArray) -> tuple[FloatArray, FloatArray]:
    kept = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
    return rows[kept], lengths[kept]
