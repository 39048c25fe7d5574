"""Paths of searches on a surface: where they went, seen from above, and how far off that plane they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.plane import Plane, best_index, off_words, principal_plane, scanned_plane
from landscape.plots.info.surface import SurfaceInfo, surface_info
from landscape.plots.info.words import ValueText, value_text
from landscape.plots.runs import Run
from landscape.surface import Surface
from landscape.trajectory import Trajectory

_SAME = ("model", "weights_sha256", "bits", "scheme", "calib_images_sha256", "seed")
"""Settings that a scan and a search must share for the centre of the one to be the start of the other."""


@dataclass(frozen=True, eq=False)
class Below:
    """A plane, and the surface on it.

    Attributes:
        plane: Through the centre.
        surface: Its values; axes are the coordinates along the plane's directions.
    """

    plane: Plane
    surface: Surface


@dataclass(frozen=True, eq=False)
class PathInfo:
    """One search, projected on the plane. All arrays have one entry for each visited point, shape (T,).

    Attributes:
        label: Of the method.
        seed: Of the search.
        x: First coordinate.
        y: Second coordinate.
        off: Distance from the plane, root mean square over the scales.
        value: Loss of the point on the search images.
        cost: Budget spent so far, in images.
        accepted: Points that the search went on from: the path.
        end: Index of the best point measured on all search images.
    """

    label: str
    seed: int
    x: FloatArray
    y: FloatArray
    off: FloatArray
    value: FloatArray
    cost: FloatArray
    accepted: npt.NDArray[np.bool_]
    end: int

    @property
    def name(self) -> str:
        """Label and seed."""
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class TrajectoriesInfo:
    """Paths over a surface.

    Attributes:
        title: Network and what is moved.
        subtitle: Where surface and paths come from, and how far off the plane they go.
        x_label: Label of the first axis.
        y_label: Label of the second.
        surface: The surface below the paths; None where no scan was given.
        value: Name of the surface's value that is shown.
        loss: Text of the loss that was searched for.
        paths: In the order of the runs.
    """

    title: str
    subtitle: str
    x_label: str
    y_label: str
    surface: SurfaceInfo | None
    value: str
    loss: ValueText
    paths: tuple[PathInfo, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the methods, each once."""
        return tuple(dict.fromkeys(path.label for path in self.paths))

    @property
    def largest_off(self) -> float:
        """Largest distance of an accepted point from the plane."""
        return max(float(path.off[path.accepted].max()) for path in self.paths)


def trajectories_info(
    trajectories: Sequence[Trajectory],
    scan: Run | None = None,
    value: str = "loss",
    title: str = "",
    level: float = 0.95,
    below: Below | None = None,
) -> TrajectoriesInfo:
    """Project searches on the plane of a scan, or else on their principal components.

    Args:
        trajectories: With coordinates, and at least one point.
        scan: The grid below; None for no surface.
        value: Which of its values is shown.
        title: Where there is no scan.
        level: Coverage of the surface's intervals.
        below: A plane and the surface on it, in place of a scan; see `landscape.plots.surface_below`.

    Raises:
        UserError: The searches kept no points, or do not fit the scan.
    """
    known = [each for each in trajectories if len(each)]
    if not known:
        raise UserError("the searches have visited no point yet; let them run for a while")
    if below is None and scan is not None:
        below = Below(scanned_plane(scan, known), scan.surface)
    plane = principal_plane(known) if below is None else below.plane
    paths = tuple(_path(each, plane) for each in known)
    surface = None if below is None else surface_info(below.surface, (value,), level)
    searches = f"{len(paths)} searches" if len(paths) > 1 else "1 search"
    info = TrajectoriesInfo(
        title=title or ("" if surface is None else surface.title),
        subtitle="",
        x_label=plane.x_label,
        y_label=plane.y_label,
        surface=surface,
        value=value,
        loss=value_text(known[0].loss),
        paths=paths,
    )
    parts = [] if surface is None else [surface.subtitle]
    images = f"loss of a search: {info.loss.short} on its {int(known[0].images.max()):,} images"
    parts += [f"{searches} projected on {plane.words}, {off_words(info.largest_off)}", images]
    return TrajectoriesInfo(**{**vars(info), "subtitle": "; ".join(parts)})


def check_same_network(scan: Run, searches: Sequence[Run]) -> None:
    """Make sure that the centre of a scan is where the searches started.

    Raises:
        UserError: It is another network, or calibrated otherwise.
    """
    for run in searches:
        for name in _SAME:
            here, there = scan.settings.get(name), run.settings.get(name)
            if here != there and not isinstance(here, dict):
                raise UserError(
                    f"{run.folder} did not start at the centre of {scan.folder}: {name} is {there} there and {here} "
                    "in the scan; scan the network that was searched"
                )


def _path(trajectory: Trajectory, plane: Plane) -> PathInfo:
    x, y, off = plane.project(trajectory)
    return PathInfo(
        label=trajectory.label,
        seed=trajectory.seed,
        x=x,
        y=y,
        off=off,
        value=trajectory.value,
        cost=trajectory.cost,
        accepted=trajectory.accepted,
        end=best_index(trajectory),
    )
