"""Refinement of a finished scan: grid lines are added where the surface changes most; a region can be zoomed into.

A refined run is a run of its own, in a folder of its own, that starts with the points of the run it comes from: nothing
is computed twice, and nothing of that run changes. Its grid is rectilinear and no longer equally spaced; its axes are
the coordinates of its points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.progress import Progress, silent
from landscape.scan import load_surface, read_surface
from landscape.setup import Ingredients, ProblemOptions, gather
from landscape.store import RunStore
from landscape.surface import Surface

Place = tuple[float, ...]
"""Coordinates of a point, (alpha,) or (alpha, beta)."""

_COPIED = ("versions", "engine", "image_names", "float_parts", "float_values")


@dataclass(frozen=True)
class RefineOptions:
    """What is added to a scan.

    Attributes:
        lines: Grid lines to add: points on a line, whole rows or columns in a plane.
        value: Whose changes decide where they are added: loss, top1, infonce ...
        alpha: Region to zoom into, low,high along d1; all of the run's by default.
        beta: The same along d2.
        depth: How often a gap of the run may be halved, so that a jump does not take all lines.

    Raises:
        UserError: A value is out of range.
    """

    lines: int = 10
    value: str = "loss"
    alpha: tuple[float, ...] | None = None
    beta: tuple[float, ...] | None = None
    depth: int = 4

    def __post_init__(self) -> None:
        if self.lines < 1:
            raise UserError(f"--lines {self.lines} adds nothing; give at least 1")
        if self.depth < 1:
            raise UserError(f"--depth {self.depth} leaves no gap to halve; give at least 1")
        for name in ("alpha", "beta"):
            region = getattr(self, name)
            if region is not None and (len(region) != 2 or not region[0] < region[1]):
                raise UserError(f"--{name} needs a region as low,high, such as --{name}=-0.01,0.02; got {region}")


def original_problem(folder: str | Path) -> tuple[Ingredients, dict[str, Any]]:
    """What a run was made of, gathered again from its settings, and its stored arrays (for `landscape.setup.build`).

    Raises:
        UserError: There is no scan, or its images or weights are no longer the same.
    """
    with RunStore.open(folder) as store:
        settings = store.settings
        if settings.get("kind") != "scan":
            raise UserError(f"the run in {folder} is no scan; give the folder of `landscape scan`")
        arrays = {name: store.load_array(name) for name in store.array_names()}
    options = {f.name: settings[f.name] for f in fields(ProblemOptions) if f.name in settings}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    ingredients = gather(ProblemOptions(**options))
    for name, value in ingredients.description().items():
        if name.endswith("_sha256") and settings.get(name) != value:
            raise UserError(
                f"{name.removesuffix('_sha256')} have changed since the run in {folder} was made; refine needs the same"
            )
    return ingredients, arrays


def check_refinement(run: str | Path, options: RefineOptions) -> None:
    """See, before long work, whether a scan can be refined so: it has the value, and lines in the region.

    Raises:
        UserError: It cannot.
    """
    _Grid(load_surface(run), options)


def refine(
    problem: Problem,
    run: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Surface:
    """Add grid lines to a scan, in a new folder.

    A line is added in the middle of the gap across which the value changes most: by the squared difference of the
    neighbouring lines' values, less what the choice of images adds to it (so that noise is not refined), averaged over
    the lines' points. Of equal gaps the widest is halved; the next line is chosen with the new values known. With a
    region, the new run holds the run's points in it and the centre, and lines are added inside it only.

    Args:
        problem: Of `original_problem`, built.
        run: Folder of the scan to refine; it may be unfinished or refined itself.
        out: Folder of the new run.
        resume: Continue the run in that folder.
        progress: Who is told.
        **options: Of `RefineOptions`.

    Returns:
        The refined surface; in a zoomed plane, the centre's lines hold values where the run had them.

    Raises:
        UserError: An option or a folder cannot be used, or no gap is left to halve.
    """
    known = {each.name for each in fields(RefineOptions)}
    if not set(options) <= known:
        raise UserError(f"unknown option {sorted(set(options) - known)[0]!r}; options are {', '.join(sorted(known))}")
    chosen = RefineOptions(**options)
    grid = _Grid(load_surface(run), chosen)
    with _open(Path(run), Path(out), chosen, grid, resume) as store:
        directions = torch.from_numpy(store.load_array("directions"))
        _add_lines(problem, directions, store, grid, chosen, progress)
        if store.status != "finished":
            store.finish({"points": len(store.done()), "images": len(problem.images)})
        return read_surface(store)


@dataclass(eq=False)
class _Grid:
    """The lines inside the region, and the per-image values of the deciding value at their points.

    Attributes:
        surface: Of the run that is refined.
        options: What is added.
        axes: Coordinates of the lines along each direction, increasing; they grow.
        smallest: Smallest gap along each direction that may still be halved.
        images: By place; values of shape (N,), or (1,) where the run keeps no per-image values.
    """

    surface: Surface
    options: RefineOptions
    axes: list[list[float]] = field(default_factory=list)
    smallest: list[float] = field(default_factory=list)
    images: dict[Place, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        surface, options = self.surface, self.options
        if options.value not in surface.values:
            raise UserError(f"this run has no value '{options.value}'; it has {', '.join(surface.names)}")
        if surface.dims == 1 and options.beta is not None:
            raise UserError("--beta is a region along d2, and this run is a line; give --alpha only")
        coordinates = [surface.alpha] if surface.beta is None else [surface.alpha, surface.beta]
        for name, axis in zip(("alpha", "beta"), coordinates, strict=False):
            low, high = getattr(options, name) or (axis[0], axis[-1])
            inside = axis[(low <= axis) & (axis <= high)].tolist()
            if len(inside) < 2:
                raise UserError(
                    f"--{name} {low:g},{high:g} holds {len(inside)} of the run's lines, which lie from {axis[0]:g} to "
                    f"{axis[-1]:g} in steps of {float(np.diff(axis).mean()):.2g}; give a region with at least 2"
                )
            self.axes.append(inside)
            self.smallest.append(float(np.diff(inside).min()) / 2**options.depth * 1.5)
        samples = surface.per_image.get(options.value)
        values = surface.values[options.value][..., None] if samples is None else np.asarray(samples)
        for index in np.ndindex(surface.shape):
            if surface.computed[index]:
                self.images[self.place_of(index)] = values[index]

    def place_of(self, index: tuple[int, ...]) -> Place:
        """Coordinates of a point of the run."""
        alpha = float(self.surface.alpha[index[0]])
        return (alpha,) if self.surface.beta is None else (alpha, float(self.surface.beta[index[1]]))

    def holds(self, place: Place) -> bool:
        """Whether a point is in the new run: in the region, or the centre."""
        inside = all(axis[0] <= x <= axis[-1] for x, axis in zip(place, self.axes, strict=True))
        return inside or not any(place)

    def next_line(self) -> tuple[int, float]:
        """Direction and coordinate of the line to add: in the middle of the gap with the largest change."""
        best: tuple[float, float, int, float] | None = None
        for direction, axis in enumerate(self.axes):
            for low, high in pairwise(axis):
                if high - low < self.smallest[direction]:
                    continue
                rank = (max(self._change(direction, low, high), 0.0), high - low)
                if best is None or rank > best[:2]:
                    best = (*rank, direction, (low + high) / 2)
        if best is None:
            raise UserError(
                f"every gap has been halved {self.options.depth} times; give a larger --depth or fewer lines"
            )
        return best[2], best[3]

    def line(self, direction: int, coordinate: float) -> list[Place]:
        """The points of a line inside the region."""
        if len(self.axes) == 1:
            return [(coordinate,)]
        return [(coordinate, x) if direction == 0 else (x, coordinate) for x in self.axes[1 - direction]]

    def _change(self, direction: int, low: float, high: float) -> float:
        """Mean squared difference of two lines, less its noise; points that are not computed are left out."""
        changes = []
        for one, other in zip(self.line(direction, low), self.line(direction, high), strict=True):
            if one in self.images and other in self.images:
                difference = self.images[one] - self.images[other]
                noise = difference.var(ddof=1) / len(difference) if len(difference) > 1 else 0.0
                changes.append(float(difference.mean() ** 2 - noise))
        known = [change for change in changes if np.isfinite(change)]
        return float(np.mean(known)) if known else 0.0


def _add_lines(
    problem: Problem, directions: Tensor, store: RunStore, grid: _Grid, options: RefineOptions, progress: Progress
) -> None:
    found = {tuple(place): index for index, place in _places(store).items()}
    number = max(found.values(), default=-1) + 1
    surface = read_surface(store)
    evaluate: Callable[[int], None] | None
    size = len(problem.images)
    total = options.lines * max(len(axis) for axis in grid.axes) * size if len(grid.axes) > 1 else options.lines * size
    with progress("refine", total) as evaluate:
        for _ in range(options.lines):
            direction, coordinate = grid.next_line()
            line = grid.line(direction, coordinate)
            for place in (place for place in line if place in found):
                # of a run that is resumed: its decisions are taken again, from the same values
                grid.images[place] = _stored_images(surface, place, options.value)
            missing = [place for place in line if place not in found]
            points = (problem.space.at(place, directions) for place in missing)
            for place, point in zip(missing, problem.evaluations(points, evaluate), strict=True):
                store.save_point(number, place, point.values, point.per_image, point.seconds)
                number += 1
                grid.images[place] = point.per_image.get(options.value, np.array([point.values[options.value]]))
            grid.axes[direction] = sorted([*grid.axes[direction], coordinate])


def _open(run: Path, out: Path, options: RefineOptions, grid: _Grid, resume: bool) -> RunStore:
    with RunStore.open(run) as parent:
        settings = {**parent.settings, "refine": _plain(options), "refines": parent.settings.get("refine")}
        if resume and RunStore.exists(out):
            store = RunStore.open(out, "append")
            try:
                store.check_settings(settings)
                _copy(parent, store, grid)
            except BaseException:
                store.close()
                raise
            return store
        store = RunStore.create(out, settings, {name: parent.load_array(name) for name in parent.array_names()})
        try:
            _copy(parent, store, grid)
        except BaseException:
            store.close()
            raise
    return store


def _copy(parent: RunStore, store: RunStore, grid: _Grid) -> None:
    """The run's points in the region, with all their values; those that are there already stay."""
    for name in _COPIED:
        store.set_meta(name, parent.get_meta(name))
    store.set_meta("refined_from", str(parent.folder))
    table, places = parent.values().set_index("index"), _places(parent)
    names = [name for name in table.columns if name != "seconds" and not name.startswith("coordinate_")]
    done = store.done()
    kept = [index for index, place in places.items() if grid.holds(place) and index not in done]
    per_image: dict[str, dict[int, FloatArray]] = {}
    for name in (name for name in names if name in grid.surface.per_image):
        indices, rows = parent.per_image(name)
        per_image[name] = dict(zip(indices.tolist(), rows, strict=True))
    for index in kept:
        row = {str(name): float(value) for name, value in table.loc[index].to_dict().items()}
        images = {name: per_image[name][index] for name in per_image}
        store.save_point(index, places[index], {name: row[name] for name in names}, images, row["seconds"])


def _places(store: RunStore) -> dict[int, Place]:
    """Coordinates of the points stored so far, by index."""
    table = store.values()
    columns = [name for name in table.columns if name.startswith("coordinate_")]
    return {
        int(index): tuple(row) for index, row in zip(table["index"], table[columns].to_numpy().tolist(), strict=True)
    }


def _stored_images(surface: Surface, place: Place, value: str) -> FloatArray:
    axes = [surface.alpha] if surface.beta is None else [surface.alpha, surface.beta]
    index = tuple(int(np.flatnonzero(axis == x)[0]) for axis, x in zip(axes, place, strict=True))
    if value in surface.per_image:
        return np.asarray(surface.per_image[value][index])
    return np.array([surface.values[value][index]])


def _plain(options: RefineOptions) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
