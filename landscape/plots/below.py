"""The surface below the paths of searches: evaluated on the plane that holds most of their moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.plane import Plane, principal_plane
from landscape.plots.info.trajectories import Below
from landscape.progress import Progress, silent
from landscape.space import scale_space
from landscape.surface import Surface
from landscape.trajectory import Trajectory

if TYPE_CHECKING:
    from landscape.problem import Problem

MARGIN = 0.08
"""How far the surface reaches beyond the paths, as a share of their extent."""


def surface_below(
    problem: Problem,
    trajectories: Sequence[Trajectory],
    points: int = 11,
    plane: Plane | None = None,
    progress: Progress = silent,
) -> Below:
    """Evaluate a problem on the plane of some paths, as far as they go.

    Paths lie off the plane, so that the surface is not the loss that a search saw; scales
    that no search moved stay at the centre, and so do zero points.

    Args:
        problem: The network that was searched, on the images that the surface is to be of.
        trajectories: With coordinates.
        points: Along each side, or one or two more, so that the start is one of them.
        plane: By default that of the principal components of all accepted points.
        progress: Who is told; it counts images.

    Raises:
        UserError: The searches kept no points, or did not start at the problem's centre.
    """
    if points < 3:
        raise UserError(f"{points} points make no surface; give at least 3")
    plane = plane or principal_plane(trajectories)
    here = replace(problem, space=scale_space(problem.network, plane.names))
    if here.space.sizes != tuple(plane.sizes):
        raise UserError("the searches moved other scales than this network has; give the problem that was searched")
    places = [plane.project(each)[:2] for each in trajectories]
    ends = [np.concatenate([place[axis][each.accepted] for place, each in zip(places, trajectories, strict=True)])
            for axis in (0, 1)]  # fmt: skip
    alpha, beta = (_axis(np.append(axis, 0.0), points) for axis in ends)
    directions = torch.from_numpy(np.ascontiguousarray(plane.directions))
    found = []
    with progress("surface below the paths", len(alpha) * len(beta) * len(problem.images)) as advance:
        for a in alpha.tolist():
            for b in beta.tolist():
                found += here.evaluate([here.space.at((a, b), directions)], advance)
    shape = (len(alpha), len(beta))
    values = {name: np.array([each.values[name] for each in found]).reshape(shape) for name in found[0].values}
    per_image = {
        name: np.stack([each.per_image[name] for each in found]).reshape(*shape, -1) for name in found[0].per_image
    }
    settings = {**problem.description, "images": len(problem.images), "direction": None}
    return Below(plane, Surface(alpha, beta, values, per_image, settings))


def _axis(places: FloatArray, points: int) -> FloatArray:
    """Multiples of a step, zero among them, from below the lowest place to above the highest."""
    reach = float(np.ptp(places)) or 0.01
    step = (1 + 2 * MARGIN) * reach / (points - 1)
    low, high = float(places.min()) - MARGIN * reach, float(places.max()) + MARGIN * reach
    return step * np.arange(np.floor(low / step), np.ceil(high / step) + 1)
