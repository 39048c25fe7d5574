"""Analytic problems with known minima."""

from __future__ import annotations

import numpy as np

from evolq.objective import FunctionObjective
from evolq.space import SpaceInfo


def quadratic(dimension=6, images=10, parts=2, groups=2, curvature=None):
    """1/2 sum_i c_i (e_i - t_i)^2 with minimum 0 at t; every image has the same value."""
    target = np.linspace(-0.05, 0.05, dimension) if dimension > 1 else np.array([0.04])
    weights = np.ones(dimension) if curvature is None else np.asarray(curvature, dtype=float)
    info = SpaceInfo.plain(dimension, groups, images, parts)
    problem = FunctionObjective(
        lambda e, rows: 0.5 * float(weights @ (e - target) ** 2),
        info,
        lambda e, rows: weights * (e - target),
        lambda e, rows: np.diag(weights),
    )
    return problem, target


def piecewise_constant(dimension=4, step=0.02):
    """The quadratic of the nearest grid point: flat almost everywhere, with jumps; its derivative is zero."""
    smooth, target = quadratic(dimension)
    function = smooth.function
    return FunctionObjective(
        lambda e, rows: function(np.rint(e / step) * step, rows),
        smooth.info,
        lambda e, rows: np.zeros(dimension),
    ), target


def egg_carton(dimension=4, height=0.001, period=0.03):
    """A quadratic with many local minima."""
    smooth, target = quadratic(dimension)
    function = smooth.function
    return FunctionObjective(
        lambda e, rows: function(e, rows) + height * float(np.sum(1 - np.cos(2 * np.pi * (e - target) / period))),
        smooth.info,
    ), target


def noisy(dimension=4, noise=1e-3, images=40, parts=4):
    """A quadratic to which every image adds a slope of its own, with mean zero over all images."""
    smooth, target = quadratic(dimension, images, parts)
    slopes = np.random.default_rng(0).standard_normal((images, dimension)) * noise
    slopes -= slopes.mean(axis=0)
    function, slope = smooth.function, smooth.slope
    return FunctionObjective(
        lambda e, rows: function(e, rows) + float(slopes[rows].mean(axis=0) @ e),
        smooth.info,
        lambda e, rows: slope(e, rows) + slopes[rows].mean(axis=0),
        smooth.hessian,
    ), target


def constant(value, dimension=4, images=10, parts=2):
    """The same value everywhere, NaN if it is NaN."""
    return FunctionObjective(
        lambda e, rows: value,
        SpaceInfo.plain(dimension, 2, images, parts),
        lambda e, rows: np.zeros(dimension),
        lambda e, rows: np.zeros((dimension, dimension)),
    )
