"""A plane in scale space, and where the points of a search lie with respect to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.words import X_LABEL, Y_LABEL, percent
from landscape.plots.runs import Run
from landscape.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions through the centre, in the scales that searches move.

    Attributes:
        names: Of the scales, each one part of a point.
        sizes: Numbers in each part.
        directions: Shape (2, dimension), over these parts one after another; not necessarily orthogonal.
        x_label: Of the first direction.
        y_label: Of the second.
        words: Where the plane comes from.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    directions: FloatArray
    x_label: str
    y_label: str
    words: str

    def project(self, trajectory: Trajectory) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Coordinates in the plane of the nearest point (least squares), and the distance from it.

        Returns:
            x, y and the root mean square, over the plane's scales, of what lies off the plane; each of shape (T,).
        """
        points = aligned(trajectory, self.names, self.sizes)
        coordinates, *_ = np.linalg.lstsq(self.directions.T, points.T, rcond=None)
        off = points - coordinates.T @ self.directions
        return coordinates[0], coordinates[1], np.sqrt(np.mean(np.square(off), axis=1))


def scanned_plane(run: Run, trajectories: Sequence[Trajectory]) -> Plane:
    """The plane of a scan, over all scales that it or one of the searches moves.

    Raises:
        UserError: The scan is a line, or a search moved none of its scales.
    """
    directions = np.asarray(run.array("directions"), dtype=np.float64)
    if len(directions) != 2:
        raise UserError(f"trajectories are drawn over a grid, and {run.folder} is a line; scan with --dims 2")
    names = tuple(run.settings["scales"])
    sizes = tuple(run.scale_sizes.values())
    if len(sizes) != len(names) or sum(sizes) != directions.shape[1]:
        raise UserError(f"{run.folder} does not say how many numbers its scales have; scan again")
    moved = {name for trajectory in trajectories for name in trajectory.names}
    if not moved & set(names):
        raise UserError(
            f"the searches moved none of the scales of {run.folder}; scan what they move "
            f"(such as --layers {_example(trajectories)})"
        )
    more = {name: size for name, size in _largest(trajectories).items() if name not in names}
    wide = np.concatenate([directions, np.zeros((2, sum(more.values())))], axis=1)
    return Plane((*names, *more), (*sizes, *more.values()), wide, X_LABEL, Y_LABEL, "the scanned plane")


def principal_plane(trajectories: Sequence[Trajectory]) -> Plane:
    """The plane through the centre that holds most of all paths: principal components of all accepted points.

    The components are those of the second moments about the start, which is the centre, so that it lies in the plane.

    Raises:
        UserError: No trajectory has coordinates, or none moved.
    """
    parts = _largest(trajectories)
    names, sizes = tuple(parts), tuple(parts.values())
    points = np.concatenate([aligned(each, names, sizes)[each.accepted] for each in trajectories])
    _, strengths, rows = np.linalg.svd(points, full_matrices=False)
    if len(strengths) < 2 or strengths[1] <= 1e-12 * max(strengths[0], 1e-300):
        raise UserError("the searches moved along less than two directions, so that there is no plane to draw")
    share = np.square(strengths[:2]) / np.square(strengths).sum()
    scale = np.sqrt(rows.shape[1])  # of unit root mean square, as all directions here
    labels = [f"principal component {k} ({100 * part:.0f}% of the moves), RMS" for k, part in enumerate(share, 1)]
    return Plane(names, sizes, rows[:2] * scale, labels[0], labels[1], "the plane of the paths' principal components")


def plane_through(first: Trajectory, second: Trajectory, trajectories: Sequence[Trajectory]) -> Plane:
    """The plane through the start and the best points of two searches, over all scales that the searches move.

    Args:
        first: Its best point lies on the first axis.
        second: Its best point lies in the plane.
        trajectories: All searches that are to be drawn, these two among them.

    Raises:
        UserError: One of the two kept no coordinates or ended at the start, or both on one line with it.
    """
    parts = _largest(trajectories)
    names, sizes = tuple(parts), tuple(parts.values())
    towards, other = (aligned(each, names, sizes)[best_index(each)] for each in (first, second))
    length = float(towards @ towards)
    rest = other - towards * ((other @ towards) / length) if length > 0 else other
    if not length > 0 or not float(rest @ rest) > 1e-18 * float(other @ other) > 0:
        raise UserError("the start and the two ends lie on one line, so that there is no plane to draw; take others")
    rows = np.stack([each / np.sqrt(np.mean(np.square(each))) for each in (towards, rest)])
    label = f"towards the end of {first.label}, RMS"
    rest_label = f"the rest of the way to the end of {second.label}, RMS"
    words = f"the plane of the start and the ends of {first.label} and {second.label}"
    return Plane(names, sizes, rows, label, rest_label, words)


def best_index(trajectory: Trajectory) -> int:
    """Index of the best point among those measured on all search images."""
    full = trajectory.images == trajectory.images.max()
    return int(np.argmin(np.where(full & np.isfinite(trajectory.value), trajectory.value, np.inf)))


def aligned(trajectory: Trajectory, names: Sequence[str], sizes: Sequence[int]) -> FloatArray:
    """A trajectory's coordinates over given parts: zero for a scale that it did not move; shape (T, sum of sizes).

    A part that moved by one common factor is spread over its channels. Zero points are left out.

    Raises:
        UserError: The trajectory kept no coordinates.
    """
    if trajectory.coordinates is None:
        raise UserError(
            f"the search '{trajectory.label}' kept no points to draw its path from; run it with --keep-points"
        )
    own = dict(zip(trajectory.names, _columns(trajectory), strict=True))
    parts = []
    for name, size in zip(names, sizes, strict=True):
        part = own.get(name, np.zeros((len(trajectory), 1)))
        if part.shape[1] not in (1, size):
            raise UserError(f"the search moved {part.shape[1]} scales of {name}, the scan {size}; they do not fit")
        parts.append(np.broadcast_to(part, (len(trajectory), size)))
    return np.concatenate(parts, axis=1)


def off_words(largest: float) -> str:
    """How far the paths leave the plane, for below a picture."""
    distance = percent(float(f"{largest:.2g}")).lstrip("+")
    return f"points lie up to {distance} (RMS) off the plane; a larger dot lies farther off"


def _largest(trajectories: Sequence[Trajectory]) -> dict[str, int]:
    """Every scale that a search moved, with its size in the search that did not tie its channels."""
    sizes: dict[str, int] = {}
    for trajectory in trajectories:
        for name, size in _scales(trajectory):
            sizes[name] = max(size, sizes.get(name, 0))
    return sizes


def _columns(trajectory: Trajectory) -> list[FloatArray]:
    assert trajectory.coordinates is not None
    return np.split(trajectory.coordinates, np.cumsum(trajectory.sizes)[:-1], axis=1)


def _scales(trajectory: Trajectory) -> list[tuple[str, int]]:
    """The parts that are scales."""
    pairs = zip(trajectory.names, trajectory.sizes, strict=True)
    return [(name, size) for name, size in pairs if not name.endswith("zero_point")]


def _example(trajectories: Sequence[Trajectory]) -> str:
    names = [name for each in trajectories for name in each.names]
    return names[0].rpartition(".")[0] if names else "'*'"
