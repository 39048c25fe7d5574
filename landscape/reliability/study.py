"""The study of gradient reliability: along a line or over a plane, at a range of steps, on two sets of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from landscape.errors import UserError
from landscape.gradient import DTYPES, estimator
from landscape.losses import loss_function
from landscape.progress import Progress, silent
from landscape.reliability.agreement import agreements, cosine, measure_slopes, probe_directions
from landscape.reliability.descent import RANDOM, descend, unit
from landscape.reliability.flips import flip_distance
from landscape.reliability.records import Agreement, Descent, FlipDistance, ReliabilityReport
from landscape.space import draw_directions

if TYPE_CHECKING:
    from landscape.problem import Problem


@dataclass(frozen=True)
class ReliabilityOptions:
    """What is measured of gradients.

    Attributes:
        loss: Name of a smooth loss.
        estimators: ``straight-through``, ``frozen-weights``, ``almost-everywhere``, with commas.
        dims: 1 for points on a line, 2 for a plane; the centre is one of them.
        points: Along each direction, odd.
        radius: Largest coordinate of the points.
        directions: Random directions along which slopes are compared, at each point.
        smallest_step: Of the finite differences, in units of the coordinate.
        largest_step: Likewise.
        steps: Number of steps of finite differences, spaced by equal factors.
        descent_steps: Number of steps against the gradient, from a tenth of `smallest_step` to 10 times `largest_step`.
        dtype: Number type of the gradients: float64, or float32 for speed.
        seed: Of directions and bootstrap.
    """

    loss: str = "infonce"
    estimators: str = "straight-through,frozen-weights,almost-everywhere"
    dims: int = 1
    points: int = 3
    radius: float = 0.05
    directions: int = 16
    smallest_step: float = 0.001
    largest_step: float = 0.1
    steps: int = 3
    descent_steps: int = 9
    dtype: str = "float64"
    seed: int = 0

    def __post_init__(self) -> None:
        loss_function(self.loss)
        for name in self.names():
            estimator(name)
        if self.dims not in (1, 2):
            raise UserError(f"--dims {self.dims} is not possible; give 1 for a line or 2 for a plane")
        if self.points < 1 or self.points % 2 == 0:
            raise UserError(f"--points {self.points} must be odd, so that the centre is one of them")
        if self.directions < 2 or self.steps < 1 or self.descent_steps < 1:
            raise UserError("--directions must be at least 2, --steps and --descent-steps at least 1")
        if not 0 < self.smallest_step <= self.largest_step < 1:
            raise UserError("steps must be positive, --smallest-step not above --largest-step, and below 1")
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype {self.dtype!r} is unknown; give one of {', '.join(DTYPES)}")

    def names(self) -> tuple[str, ...]:
        """The estimators."""
        return tuple(dict.fromkeys(part.strip() for part in self.estimators.split(",")))

    def coordinates(self) -> list[tuple[float, ...]]:
        """Of the points: a line or a plane around the centre, which comes first."""
        half = self.points // 2
        axis = (self.radius * np.arange(-half, half + 1) / max(half, 1)).tolist()
        all_points = [(a,) for a in axis] if self.dims == 1 else [(a, b) for a in axis for b in axis]
        return sorted(all_points, key=lambda point: sum(x * x for x in point))

    def difference_steps(self) -> list[float]:
        """Steps of the finite differences, ascending."""
        steps: list[float] = np.geomspace(self.smallest_step, self.largest_step, self.steps).tolist()
        return steps

    def against_gradient(self) -> list[float]:
        """Steps against the gradient, ascending."""
        ends = (self.smallest_step / 10, self.largest_step * 10)
        steps: list[float] = np.geomspace(*ends, self.descent_steps).tolist()
        return steps


def reliability_study(
    problem: Problem,
    test: Problem | None = None,
    options: ReliabilityOptions | None = None,
    progress: Progress = silent,
) -> ReliabilityReport:
    """Measure how far gradients can be trusted around a problem's centre.

    Args:
        problem: Network, moving scales and the images that gradients see, as an optimizer does; the loss must be among
            its losses.
        test: The same network on other images, for steps against the gradient; None to leave that out.
        options: What is measured.
        progress: Who is told.
    """
    options = options or ReliabilityOptions()
    axes = draw_directions(problem.space, "gaussian", options.dims, options.seed)
    found: list[Agreement] = []
    falls: list[Descent] = []
    centre: dict[str, Tensor] = {}
    for number, where in enumerate(options.coordinates()):
        point = problem.space.at(where, axes)
        gradients = _gradients(problem, point, options, progress)
        centre = centre or gradients  # the first point
        found += _agreements(problem, point, where, gradients, options, number, progress)
        falls += _descents(problem, test, point, where, gradients, options, number, progress)
    flips = _flips(problem, centre, options)
    replications = _replications(problem, options, progress)
    settings = {**problem.description, "study": asdict(options)}
    return ReliabilityReport(settings, tuple(found), tuple(falls), tuple(flips), replications)


def _gradients(problem: Problem, point: Tensor, options: ReliabilityOptions, progress: Progress) -> dict[str, Tensor]:
    with progress("gradients", len(options.names()) * len(problem.images)) as advance:
        return {
            name: problem.gradient(point, options.loss, name, dtype=options.dtype, progress=advance).relative
            for name in options.names()
        }


def _agreements(
    problem: Problem,
    point: Tensor,
    where: tuple[float, ...],
    gradients: Mapping[str, Tensor],
    options: ReliabilityOptions,
    number: int,
    progress: Progress,
) -> list[Agreement]:
    directions = probe_directions(problem.space.dimension, options.directions, options.seed + number)
    steps = options.difference_steps()
    found = []
    with progress("differences", 2 * len(steps) * len(directions) * len(problem.images)) as advance:
        for step in steps:
            slopes = measure_slopes(problem, point, directions, step, options.loss, advance)
            found += agreements(gradients, directions, slopes, where, options.seed)
    return found


def _descents(
    problem: Problem,
    test: Problem | None,
    point: Tensor,
    where: tuple[float, ...],
    gradients: Mapping[str, Tensor],
    options: ReliabilityOptions,
    number: int,
    progress: Progress,
) -> list[Descent]:
    steps = options.against_gradient()
    random = probe_directions(problem.space.dimension, 1, options.seed + 1000 + number)[0]
    # A zero gradient gives no step; the random direction shows what any step would do.
    ways = {name: gradient for name, gradient in gradients.items() if gradient.any()} | {RANDOM: random}
    sets = {"calibration": problem} | ({"test": test} if test is not None else {})
    found = []
    for name, each in sets.items():
        with progress(f"descent, {name}", len(ways) * (len(steps) + 1) * len(each.images)) as advance:
            for way, gradient in ways.items():
                fall = descend(
                    each,
                    point,
                    gradient,
                    steps,
                    options.loss,
                    estimator=way,
                    images=name,
                    coordinates=where,
                    seed=options.seed,
                    advance=advance,
                )
                found.append(fall)
    return found


def _flips(problem: Problem, gradients: Mapping[str, Tensor], options: ReliabilityOptions) -> list[FlipDistance]:
    if not any(name.endswith(".weight") for name in problem.space.names):
        return []
    ways = {"random": draw_directions(problem.space, "gaussian", 1, options.seed)[0]}
    ways |= {f"{name} descent": -unit(gradient) for name, gradient in gradients.items() if gradient.any()}
    return [flip_distance(problem, problem.centre, direction, name) for name, direction in ways.items()]


def _replications(problem: Problem, options: ReliabilityOptions, progress: Progress) -> dict[str, float]:
    """Cosine of the gradients of two disjoint halves of the images, at the centre."""
    count = len(problem.images)
    if count < 2:
        return {}
    found = {}
    with progress("halves", len(options.names()) * count) as advance:
        for name in options.names():
            halves = [
                problem.gradient(
                    problem.centre, options.loss, name, list(range(k, count, 2)), options.dtype, advance
                ).relative.numpy()
                for k in (0, 1)
            ]
            found[name] = cosine(*halves)
    return found
