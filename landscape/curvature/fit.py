"""How well local models predict the real surface, as a function of radius."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landscape.curvature.records import ModelFit
from landscape.errors import UserError
from landscape.gradient import surrogate_losses
from landscape.progress import Progress, silent
from landscape.space import draw_directions

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]

STEP = 1e-3
"""Of the differences that give slope and curvature along a line; a share of the largest radius."""


@dataclass(frozen=True)
class FitOptions:
    """How a model is compared with the surface.

    Attributes:
        lines: Random directions through the centre.
        radii: Number of radii, spaced by equal factors.
        smallest: The smallest radius, in units of the coordinate.
        largest: The largest radius.
        level: The R^2 that a model should reach.
        draws: Of the bootstrap over images.
        seed: Of directions and bootstrap.
    """

    lines: int = 4
    radii: int = 8
    smallest: float = 0.002
    largest: float = 0.3
    level: float = 0.5
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.lines, self.radii, self.draws) < 1:
            raise UserError("lines, radii and draws must be positive numbers")
        if not 0 < self.smallest <= self.largest < 5:
            raise UserError(
                f"radii from {self.smallest:g} to {self.largest:g} are not possible; give 0 < small <= large < 5"
            )

    def values(self) -> FloatArray:
        """The radii, ascending."""
        return np.geomspace(self.smallest, self.largest, self.radii)


@dataclass(frozen=True)
class Lines:
    """Points on lines through the centre, and the real losses there.

    Attributes:
        directions: float64 (lines, dimension), unit RMS.
        coordinates: (points,): the coordinate of each point on its line.
        line: (points,): which line.
        points: The points, each float64 (dimension,).
        real: Per-image losses, (points, images).
        centre: Per-image losses at the centre, (images,).
    """

    directions: Tensor
    coordinates: FloatArray
    line: npt.NDArray[np.int64]
    points: list[Tensor]
    real: FloatArray
    centre: FloatArray


def evaluate_lines(
    problem: Problem, loss: str, options: FitOptions, advance: Callable[[int], None] | None = None
) -> Lines:
    """The real losses at -r and r on every line, for every radius r."""
    drawn = [draw_directions(problem.space, "gaussian", 1, options.seed + k) for k in range(options.lines)]
    directions = torch.cat(drawn)
    radii = options.values()
    signed = np.concatenate([-radii[::-1], radii])
    line = np.repeat(np.arange(options.lines), len(signed))
    coordinates = np.tile(signed, options.lines)
    points = [problem.space.at([alpha], directions[k : k + 1]) for alpha, k in zip(coordinates, line, strict=True)]
    centre, *others = problem.evaluate([problem.centre, *points], advance)
    real = np.stack([each.per_image[loss] for each in others])
    return Lines(directions, coordinates, line, points, real, np.asarray(centre.per_image[loss]))


def model_fits(
    problem: Problem,
    loss: str = "infonce",
    options: FitOptions | None = None,
    float_weights: bool = True,
    progress: Progress = silent,
    dtype: str = "float64",
) -> list[ModelFit]:
    """R^2 by radius of the quadratic model, of the surrogate itself and, if asked for, of the float network's.

    All see the same images as the real surface. Slopes and curvatures along lines are taken per image, by differences
    of functions that are smooth, in float64; so the intervals over images hold for the models as well.

    Args:
        problem: Network and images; `loss` must be among its losses.
        loss: Name of a smooth loss.
        options: Lines, radii, level.
        float_weights: Whether to compare the second-order model over the float network's weights too.
        progress: Who is told.
        dtype: Number type of values of the surrogate and of the float network; float32 for speed.
    """
    options = options or FitOptions()
    images = len(problem.images)
    count = 2 * options.lines * options.radii + 1
    with progress("surface", count * images) as advance:
        lines = evaluate_lines(problem, loss, options, advance)
    with progress("surrogate", images) as advance:
        quadratic, surrogate = surrogate_models(problem, loss, lines, options, dtype)
        advance(images)
    models = {"quadratic": quadratic, "surrogate": surrogate}
    if float_weights:
        with progress("float network", images) as advance:
            models["float-weights"] = float_weight_model(problem, loss, lines, dtype)
            advance(images)
    return [fit(name, loss, lines, predicted, options) for name, predicted in models.items()]


def surrogate_models(
    problem: Problem, loss: str, lines: Lines, options: FitOptions, dtype: str = "float64"
) -> tuple[FloatArray, FloatArray]:
    """Per-image losses at the points, by the surrogate's value, slope and curvature at the centre, and by itself.

    Slope and curvature are differences and so always in float64; `dtype` is for the surrogate itself.
    """
    step = STEP * options.largest
    beside = [problem.space.at([sign * step], d.unsqueeze(0)) for d in lines.directions for sign in (-1.0, 1.0)]
    values = surrogate_losses(problem, problem.centre, beside, loss).numpy()
    behind, ahead = values[::2], values[1::2]
    slope = (ahead - behind) / (2 * step)
    curvature = (ahead - 2 * lines.centre + behind) / step**2
    alpha = lines.coordinates[:, None]
    quadratic = lines.centre + alpha * slope[lines.line] + 0.5 * alpha**2 * curvature[lines.line]
    return quadratic, surrogate_losses(problem, problem.centre, lines.points, loss, dtype=dtype).numpy()


def float_weight_model(problem: Problem, loss: str, lines: Lines, dtype: str = "float64") -> FloatArray:
    """Per-image losses by the float network's expansion in its weights, at the weights that a point's codes stand for.

    The other layers and all activations stay float; so it is the change against the centre that the model predicts, and
    the real loss of the centre is added. Slope and curvature along the change are differences over a twentieth of it in
    float64, over half of it in float32, whose rounding would drown smaller ones.
    """
    from landscape.curvature.float_network import FloatBlock, RowLoss, moving_layers

    layers = moving_layers(problem)
    block, row_loss = FloatBlock(problem, layers, dtype=dtype), RowLoss(problem, loss)
    changes = [_weight_change(problem, point, layers) for point in (problem.centre, *lines.points)]
    step = 0.05 if dtype == "float64" else 0.5
    rows = []
    base = block.moved_losses([torch.zeros_like(changes[0])], row_loss).numpy()[0]
    for change in changes:
        ahead, behind = block.moved_losses([step * change, -step * change], row_loss).numpy()
        rows.append((ahead - behind) / (2 * step) + 0.5 * (ahead - 2 * base + behind) / step**2)
    found: FloatArray = np.stack(rows)
    predicted: FloatArray = lines.centre + found[1:] - found[0]
    return predicted


def _weight_change(problem: Problem, point: Tensor, layers: tuple[str, ...]) -> Tensor:
    network = problem.network.with_scales(problem.space.scales(point))
    parts = []
    for layer in layers:
        weight = network.graph[layer].weight
        assert weight is not None
        parts.append((network.operand(layer).dequantized() - weight).reshape(-1))
    return torch.cat(parts)


def fit(name: str, loss: str, lines: Lines, predicted: FloatArray, options: FitOptions) -> ModelFit:
    """R^2 by radius, with intervals.

    Args:
        name: Of the model.
        loss: Of the losses.
        lines: The real losses.
        predicted: Per-image losses of the model, (points, images).
        options: Radii, level, bootstrap.
    """
    images = len(lines.centre)
    generator = np.random.default_rng([options.seed, 23])
    counts = generator.multinomial(images, np.full(images, 1 / images), size=options.draws)
    weights = np.concatenate([np.full((1, images), 1 / images), counts / images]).T
    real = np.concatenate([lines.centre[None], lines.real]) @ weights
    model = np.concatenate([lines.centre[None], predicted]) @ weights
    size = np.concatenate([[0.0], np.abs(lines.coordinates)])
    radii = options.values()
    scores = np.stack([r_squared(real[size <= r * (1 + 1e-9)], model[size <= r * (1 + 1e-9)]) for r in radii])
    low, high = np.nanquantile(scores[:, 1:], [0.025, 0.975], axis=1)
    at = [np.isclose(size, r) for r in radii]
    changes = [[_rms(values[some, 0] - values[0, 0]) for some in at] for values in (real, model)]
    good = radii[scores[:, 0] >= options.level]
    return ModelFit(
        name,
        loss,
        radii=tuple(radii.tolist()),
        r2=tuple(scores[:, 0].tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        real_change=tuple(changes[0]),
        predicted_change=tuple(changes[1]),
        level=options.level,
        valid_radius=float(good[-1]) if len(good) else None,
        holds_from=float(good[0]) if len(good) else None,
        images=images,
        lines=options.lines,
    )


def r_squared(real: FloatArray, model: FloatArray) -> Any:
    """1 - sum (real - model)^2 / sum (real - mean real)^2 along the first axis; NaN where all real values are equal."""
    error = np.square(real - model).sum(0)
    spread = np.square(real - real.mean(0)).sum(0)
    return np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1.0), np.nan)


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
