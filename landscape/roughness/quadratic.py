"""The best quadratic of a surface: what is left when it is as smooth as a surface can be that is not flat."""

from __future__ import annotations

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.roughness.differences import Axes, check, present

ROUNDING = 1e-12
"""Relative difference below which two values count as equal: rounding of means and fits."""


def quadratic_fit(values: FloatArray, axes: Axes) -> FloatArray:
    """The least-squares quadratic: 1, x, x^2 on a line; with y, y^2 and x y on a plane. All present points weigh alike.

    Args:
        values: Grid's shape, and any axes behind it.
        axes: Coordinates.

    Returns:
        The fit at the present points, shape of `values`; NaN at missing ones, and everywhere where there are fewer
        present points than coefficients.
    """
    values = check(values, axes)
    there = present(values, axes)
    fit = np.full(values.shape, np.nan)
    design = _design(axes)[there.ravel()]
    if len(design) < design.shape[1]:
        return fit
    basis, _ = np.linalg.qr(design)
    fit[there] = np.tensordot(basis, np.tensordot(basis.T, values[there], axes=1), axes=1)
    return fit


def beyond_quadratic(values: FloatArray, axes: Axes) -> FloatArray:
    """What `quadratic_fit` leaves; exactly 0 where it is no more than rounding, so that a plateau has no residual.

    Args:
        values: Grid's shape, and any axes behind it.
        axes: Coordinates.

    Returns:
        Of the shape of `values`; NaN where the fit is.
    """
    rest: FloatArray = values - quadratic_fit(values, axes)
    there = values[np.isfinite(values)]
    rest[np.abs(rest) <= ROUNDING * (np.abs(there).max() if there.size else 0.0)] = 0.0
    return rest


def _design(axes: Axes) -> FloatArray:
    """Monomials up to degree 2 at all points, shape (points, 3 or 6), of coordinates scaled to [-1, 1]."""
    scaled = [axis / max(float(np.abs(axis).max()), np.finfo(float).tiny) for axis in axes]
    grids = [grid.ravel() for grid in np.meshgrid(*scaled, indexing="ij")]
    columns = [np.ones(grids[0].shape), *grids]
    columns += [grids[i] * grids[j] for i in range(len(grids)) for j in range(i, len(grids))]
    return np.stack(columns, axis=1)
