"""Directions that need more than the space: gradients, eigenvectors, given solutions, trajectories.

Each is float64 (dimension,) in relative coordinates, of unit root mean square; two of them are orthogonal. The kinds
that need only the space are those of `landscape.space.draw_directions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landscape.errors import UserError
from landscape.space import DIRECTIONS, ScaleSpace, draw_directions

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]

PROBLEM_DIRECTIONS = ("gradient", "eigenvectors")
"""Kinds that need a problem: its straight-through gradient, the leading eigenvectors of the surrogate's Hessian."""

ALL_DIRECTIONS = (*DIRECTIONS, *PROBLEM_DIRECTIONS)

LOSS = "infonce"
"""Whose gradient and curvature, unless said otherwise."""

LANCZOS_STEPS = 40

CURVATURE_IMAGES = 64
"""Eigenvectors are those of the loss over the first so many images: each of the `LANCZOS_STEPS` products costs six
passes an image."""


def directions_for(
    problem: Problem,
    kind: str,
    dims: int,
    seed: int,
    *,
    loss: str = LOSS,
    channels: Sequence[int] | None = None,
    dtype: str = "float32",
) -> Tensor:
    """The directions of a line or a plane.

    Args:
        problem: Its space, and for the kinds that need it its gradient and curvature at the centre.
        kind: One of `ALL_DIRECTIONS`.
        dims: 1 or 2.
        seed: Of what is drawn at random.
        loss: Of gradients and eigenvectors.
        channels: For ``channels``; see `draw_directions`.
        dtype: Number type of gradients and products; the codes that they are taken at are exact with both.

    Returns:
        float64 (dims, dimension), unit RMS.

    Raises:
        UserError: The kind is unknown, the space has too few scales, or the gradient is zero.
    """
    if kind in DIRECTIONS:
        return draw_directions(problem.space, kind, dims, seed, channels)
    if kind not in PROBLEM_DIRECTIONS:
        raise UserError(f"--direction {kind!r} is unknown; give one of {', '.join(ALL_DIRECTIONS)}")
    if problem.space.dimension < dims:
        raise UserError(f"{dims} directions need {dims} scales, but only {problem.space.dimension} is selected")
    if kind == "eigenvectors":
        return eigenvector_directions(problem, dims, seed, loss, dtype=dtype)
    return gradient_directions(problem, dims, seed, loss, dtype=dtype)


def gradient_directions(
    problem: Problem, dims: int, seed: int, loss: str = LOSS, how: str = "straight-through", dtype: str = "float64"
) -> Tensor:
    """The gradient at the centre (uphill), and a random direction orthogonal to it.

    Raises:
        UserError: The gradient is zero, as almost everywhere it is; see `landscape.gradient.ESTIMATORS`.
    """
    gradient = problem.gradient(problem.centre, loss, how, dtype=dtype).relative
    if not gradient.any():
        raise UserError(f"the {how} gradient of {loss} is zero, so it gives no direction; use --direction gaussian")
    rows = [gradient]
    if dims == 2:
        rows.append(draw_directions(problem.space, "gaussian", 1, seed)[0])
    return orthogonal(torch.stack(rows))


def eigenvector_directions(
    problem: Problem, dims: int, seed: int, loss: str = LOSS, kind: str = "hessian", dtype: str = "float64"
) -> Tensor:
    """Eigenvectors of the surrogate's curvature at the centre, those of the largest absolute eigenvalues.

    Their sign is such that the largest component is positive.
    """
    from landscape.curvature import lanczos, probes

    images = min(CURVATURE_IMAGES, len(problem.images))
    operator = problem.curvature(problem.centre, kind, loss, images=images, dtype=dtype)
    run = lanczos(operator, probes(problem.space.dimension, 1, seed)[0], LANCZOS_STEPS)
    leading = np.argsort(-np.abs(run.values))[:dims]
    if len(leading) < dims:
        raise UserError(f"the {kind} of {loss} has fewer than {dims} eigenvalues that are not zero; use --dims 1")
    columns = run.vectors[:, leading]
    signs = np.sign(columns[np.abs(columns).argmax(0), np.arange(dims)])
    return orthogonal(torch.from_numpy((columns * signs).T.copy()))


def through_points(space: ScaleSpace, points: Sequence[Tensor]) -> tuple[Tensor, FloatArray]:
    """The line through the centre and one solution, or the plane through it and two.

    Args:
        space: Its centre is the origin.
        points: One or two points, each float64 (dimension,).

    Returns:
        Directions, float64 (len(points), dimension); and the coordinates of the points along them, (points,
        directions): on a line, the solution lies at coordinate [0, 0].

    Raises:
        UserError: A point is the centre, or the points lie on one line with it.
    """
    if len(points) not in (1, 2):
        raise UserError(f"{len(points)} solutions span no line or plane with the centre; give one or two")
    exponents = torch.stack([_exponent(space, point) for point in points])
    if not bool((exponents.abs().amax(1) > 0).all()):
        raise UserError("a solution equals the centre, so it gives no direction; give another")
    return _with_coordinates(exponents, "the solutions lie on one line with the centre; give one of them, or another")


def through_files(problem: Problem, files: Sequence[str | Path]) -> tuple[Tensor, FloatArray]:
    """The same for quantized files: their scales are the solutions; see `through_points`.

    Raises:
        UserError: A file is missing or does not fit the network, or what `through_points` says.
    """
    from landscape.quant.parameters import load_quantized

    points = []
    for file in files:
        network = load_quantized(Path(file), problem.network.graph)
        points.append(torch.cat([network.scale(name).reshape(-1) for name in problem.space.names]))
    return through_points(problem.space, points)


def principal_components(space: ScaleSpace, points: Tensor, count: int) -> tuple[Tensor, FloatArray, FloatArray]:
    """Principal components of a trajectory's relative coordinates (Li et al. 2018, arXiv 1712.09913, section 7.2).

    Components are taken about the centre of the space, not about the trajectory's mean, so that the plane holds the
    centre (**ours**).

    Args:
        space: Its centre is the origin.
        points: Of the trajectory, float64 (T, dimension), positive.
        count: 1 or 2.

    Returns:
        Directions, float64 (count, dimension); coordinates of the points, (T, count); and the share of the sum of
        squares that each component explains, (count,).

    Raises:
        UserError: The points span fewer directions.
    """
    exponents = torch.stack([_exponent(space, point) for point in points])
    _, sizes, rows = torch.linalg.svd(exponents, full_matrices=False)
    if len(sizes) < count or not float(sizes[count - 1]) > 1e-12 * max(float(sizes[0]), 1e-300):
        raise UserError(f"the trajectory spans fewer than {count} directions; it needs points that differ")
    directions = orthogonal(rows[:count])
    shares = (sizes[:count] ** 2 / (sizes**2).sum()).numpy()
    return directions, coordinates_of(exponents, directions), shares


def coordinates_of(exponents: Tensor, directions: Tensor) -> FloatArray:
    """Coordinates of points along orthogonal unit-RMS directions: least squares, (points, directions).

    Args:
        exponents: e of the points s0 exp(e), float64 (points, dimension).
        directions: float64 (directions, dimension).
    """
    found: FloatArray = (exponents @ directions.T / directions.shape[1]).numpy()
    return found


def orthogonal(rows: Tensor) -> Tensor:
    """Rows made orthogonal, each to those before it, and of unit root mean square (Gram-Schmidt)."""
    found: list[Tensor] = []
    for row in rows:
        for _ in range(2):
            for earlier in found:
                row = row - earlier * ((row @ earlier) / (earlier @ earlier))
        found.append(row / row.square().mean().sqrt())
    return torch.stack(found)


def _exponent(space: ScaleSpace, point: Tensor) -> Tensor:
    if point.shape != space.centre.shape or not bool((torch.isfinite(point) & (point > 0)).all()):
        raise UserError(f"a point must hold {space.dimension} positive scales; got shape {tuple(point.shape)}")
    return torch.log(point / space.centre)


def _with_coordinates(exponents: Tensor, message: str) -> tuple[Tensor, FloatArray]:
    if len(exponents) == 2:
        a, b = exponents
        rest = b - a * ((a @ b) / (a @ a))
        if not float(rest.norm()) > 1e-9 * float(b.norm()):
            raise UserError(message)
    directions = orthogonal(exponents)
    return directions, coordinates_of(exponents, directions)
