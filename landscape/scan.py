"""Scans: a problem's values on a line or a grid of points, stored point by point and resumable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from landscape.directions import ALL_DIRECTIONS, directions_for
from landscape.errors import UserError
from landscape.problem import Evaluation, Problem
from landscape.progress import Progress, silent
from landscape.setup import PLACES, stored_arrays
from landscape.store import RunStore
from landscape.surface import Surface

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScanOptions:
    """The grid.

    Attributes:
        direction: ``gaussian``, ``sign`` or ``channels`` (see `landscape.space.draw_directions`), ``gradient`` or
            ``eigenvectors`` (of infoNCE's straight-through surrogate at the centre; see `landscape.directions`).
        dims: 1 for a line, 2 for a plane.
        points: Along each direction; odd, so that the centre is on the grid.
        radius: Largest coordinate: 0.05 moves the scales by about 5 % (root mean square).
        seed: Of the directions.

    Raises:
        UserError: A value is out of range.
    """

    direction: str = "gaussian"
    dims: int = 2
    points: int = 21
    radius: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.direction not in ALL_DIRECTIONS:
            raise UserError(f"--direction {self.direction!r} is unknown; give one of {', '.join(ALL_DIRECTIONS)}")
        if self.dims not in (1, 2):
            raise UserError(f"--dims {self.dims} is not possible; give 1 for a line or 2 for a plane")
        if self.points < 3 or self.points % 2 == 0:
            raise UserError(f"--points {self.points} must be odd and at least 3, so that the centre is on the grid")
        if not 0 < self.radius < 5:
            raise UserError(
                f"--radius {self.radius:g} must be positive (and below 5); 0.05 moves the scales by about 5 %"
            )
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} is negative; give 0 or a positive number")

    def axis(self) -> FloatArray:
        """Coordinates along a direction: symmetric, equally spaced, with 0.0 in the middle."""
        half = self.points // 2
        return self.radius * np.arange(-half, half + 1) / half

    def coordinates(self) -> list[tuple[float, ...]]:
        """Coordinates of all points: index i, or i * points + j, of the grid."""
        axis = self.axis().tolist()
        return [(a,) for a in axis] if self.dims == 1 else [(a, b) for a in axis for b in axis]

    def order(self) -> list[int]:
        """Indices in order of evaluation: the centre, then coarse to fine, so that an unfinished scan shows much."""
        half = self.points // 2
        shape = (self.points,) * self.dims

        def fineness(index: int) -> tuple[int, int]:
            offsets = [int(i) - half for i in np.unravel_index(index, shape)]
            return (-_trailing_zeros(offsets), index)

        return sorted(range(self.points**self.dims), key=fineness)


def _trailing_zeros(offsets: Sequence[int]) -> int:
    """How often all offsets can be halved: large on the coarsest grid, and for the centre largest of all."""
    combined = int(np.gcd.reduce([abs(offset) for offset in offsets]))
    return 64 if combined == 0 else (combined & -combined).bit_length() - 1


def scan(
    problem: Problem,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Surface:
    """Evaluate a problem on a grid around its centre.

    Args:
        problem: What is evaluated.
        out: Folder of the run; None keeps the values in memory only.
        resume: Continue the run in that folder; a finished one is only read.
        progress: Who is told.
        **options: Of `ScanOptions`.

    Returns:
        The surface, complete.

    Raises:
        UserError: An option cannot be used, or the folder cannot.
    """
    known = {field.name for field in fields(ScanOptions)}
    if not set(options) <= known:
        raise UserError(f"unknown option {sorted(set(options) - known)[0]!r}; options are {', '.join(sorted(known))}")
    grid = ScanOptions(**options)
    directions = scan_directions(problem, grid)
    if out is None:
        return _scan_in_memory(problem, grid, directions, progress)
    settings = run_settings(problem.description, grid)
    with open_run(Path(out), settings, resume, problem, directions) as store:
        return continue_scan(problem, grid, directions, store, progress)


def scan_directions(problem: Problem, grid: ScanOptions) -> Tensor:
    """The directions of a grid, float64 (dims, dimension)."""
    return directions_for(problem, grid.direction, grid.dims, grid.seed)


def run_settings(description: Mapping[str, Any], grid: ScanOptions) -> dict[str, Any]:
    """All that decides a run's values, as plain data; a run is resumed only with equal settings."""
    return {"kind": "scan", **description, **asdict(grid)}


def open_run(folder: Path, settings: Mapping[str, Any], resume: bool, problem: Problem, directions: Tensor) -> RunStore:
    """Make a run, or open the one that is to be resumed.

    Raises:
        UserError: The folder cannot be used, or holds a run with other settings.
    """
    if resume and RunStore.exists(folder):
        store = RunStore.open(folder, "append")
        try:
            store.check_settings(settings, PLACES)
        except BaseException:
            store.close()
            raise
        return store
    arrays = {**stored_arrays(problem), "directions": directions.numpy(), "centre": problem.centre.numpy()}
    store = RunStore.create(folder, settings, arrays)
    store.set_meta("versions", versions())
    store.set_meta("engine", problem.engine)
    store.set_meta("image_names", list(problem.images.names))
    store.set_meta("float_parts", problem.network.float_parts())
    store.set_meta("float_values", problem.float_values())
    return store


def continue_scan(
    problem: Problem, grid: ScanOptions, directions: Tensor, store: RunStore, progress: Progress = silent
) -> Surface:
    """Evaluate the points that a run lacks, storing each as soon as it is done."""
    done, coordinates = store.done(), grid.coordinates()
    missing = [index for index in grid.order() if index not in done]
    with progress("scan", len(missing) * len(problem.images)) as advance:
        points = (problem.space.at(coordinates[index], directions) for index in missing)
        for index, found in zip(missing, problem.evaluations(points, advance), strict=True):
            store.save_point(index, coordinates[index], found.values, found.per_image, found.seconds)
    if store.status != "finished":
        store.finish({"points": len(coordinates), "images": len(problem.images)})
    return read_surface(store)


def read_surface(store: RunStore) -> Surface:
    """The surface of a run, complete or not; per-image values are read when they are asked for."""
    settings = store.settings
    table = store.values()
    axes = _axes(settings, table)
    shape = tuple(len(axis) for axis in axes)
    at = _positions(table, axes)
    names = [name for name in table.columns if name not in ("index", "seconds") and not name.startswith("coordinate_")]
    values = {}
    for name in names:
        flat = np.full(int(np.prod(shape)), np.nan)
        flat[at] = table[name].to_numpy()
        values[name] = flat.reshape(shape)
    reference = {"float": store.get_meta("float_values")}
    centre = tuple(int(np.flatnonzero(axis == 0.0)[0]) for axis in axes)
    if values and not all(np.isnan(value[centre]) for value in values.values()):
        reference["centre"] = {name: float(value[centre]) for name, value in values.items()}
    images = _StoredImages(store.folder, shape, names, dict(zip(table["index"].tolist(), at.tolist(), strict=True)))
    return Surface(axes[0], axes[1] if len(axes) == 2 else None, values, images, settings, reference)


def _axes(settings: Mapping[str, Any], table: pd.DataFrame) -> list[FloatArray]:
    """Coordinates along each direction: the grid's, or of a refined run (`landscape.refine`) those of its points."""
    grid = ScanOptions(**{field.name: settings[field.name] for field in fields(ScanOptions)})
    if settings.get("refine") is None:
        return [grid.axis()] * grid.dims
    return [np.unique(np.append(table[f"coordinate_{axis}"].to_numpy(), 0.0)) for axis in range(grid.dims)]


def _positions(table: pd.DataFrame, axes: Sequence[FloatArray]) -> npt.NDArray[np.int64]:
    """Flat position on the grid of each row of a table of points."""
    found = [np.searchsorted(axis, table[f"coordinate_{n}"].to_numpy()) for n, axis in enumerate(axes) if len(table)]
    shape = tuple(len(axis) for axis in axes)
    return np.ravel_multi_index(tuple(found), shape) if found else np.zeros(0, dtype=np.int64)


def load_surface(folder: str | Path) -> Surface:
    """The surface of the run in a folder.

    Raises:
        UserError: There is no run, or it is no scan.
    """
    with RunStore.open(folder) as store:
        if store.settings.get("kind") != "scan":
            raise UserError(f"the run in {folder} is no scan; give the folder of `landscape scan`")
        return read_surface(store)


class _StoredImages(Mapping[str, FloatArray]):
    """Per-image values of a run by name, read from its folder on access; NaN where a point is not computed."""

    def __init__(self, folder: Path, shape: tuple[int, ...], names: Sequence[str], at: Mapping[int, int]) -> None:
        self._folder, self._shape, self._at = folder, shape, at
        self._names = [name for name in names if name != "flip_rate"]

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._names:
            raise KeyError(name)
        with RunStore.open(self._folder) as store:
            indices, rows = store.per_image(name)
        full = np.full((int(np.prod(self._shape)), rows.shape[1]), np.nan)
        known = [number for number, index in enumerate(indices.tolist()) if index in self._at]  # not later ones
        full[[self._at[index] for index in indices[known].tolist()]] = rows[known]
        return full.reshape(*self._shape, rows.shape[1])

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _scan_in_memory(problem: Problem, grid: ScanOptions, directions: Tensor, progress: Progress) -> Surface:
    coordinates, found = grid.coordinates(), dict[int, Evaluation]()
    with progress("scan", len(coordinates) * len(problem.images)) as advance:
        points = (problem.space.at(coordinates[index], directions) for index in grid.order())
        found.update(zip(grid.order(), problem.evaluations(points, advance), strict=True))
    shape = (grid.points,) * grid.dims
    rows = [found[index] for index in range(len(coordinates))]
    values = {name: np.array([row.values[name] for row in rows]).reshape(shape) for name in rows[0].values}
    per_image = {
        name: np.stack([row.per_image[name] for row in rows]).reshape(*shape, len(problem.images))
        for name in rows[0].per_image
    }
    centre = rows[len(rows) // 2]
    axis = grid.axis()
    return Surface(
        axis,
        axis if grid.dims == 2 else None,
        values,
        per_image,
        run_settings(problem.description, grid),
        {"float": problem.float_values(), "centre": dict(centre.values)},
    )


def versions() -> dict[str, str]:
    """Versions of what computes the values; stored with a run, and no reason to refuse its continuation."""
    return {name: version(name) for name in ("evolq-landscape", "torch", "timm", "numpy", "scipy")}
