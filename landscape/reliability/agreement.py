"""Agreement of gradient estimates with what steps of a stated length really change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landscape.reliability.flips import flipped_share
from landscape.reliability.records import Agreement

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]

DRAWS = 1000
"""Of the bootstrap over directions."""

LEVEL = 0.95


@dataclass(frozen=True)
class Slopes:
    """Central differences of the real loss along random directions, at one point.

    Attributes:
        step: h, in units of the coordinate.
        per_image: (directions, images), loss per unit of the coordinate.
        flipped: Share of the weight codes that differ between both ends, mean over directions.
    """

    step: float
    per_image: FloatArray
    flipped: float


def probe_directions(dimension: int, count: int, seed: int) -> Tensor:
    """Independent standard normal directions, float64 (count, dimension); not made orthogonal, not scaled."""
    return torch.from_numpy(np.random.default_rng([seed, 31]).standard_normal((count, dimension)))


def measure_slopes(
    problem: Problem,
    point: Tensor,
    directions: Tensor,
    step: float,
    loss: str,
    advance: Callable[[int], None] | None = None,
) -> Slopes:
    """(L(s exp(h d)) - L(s exp(-h d))) / 2h for each direction.

    Args:
        problem: What is evaluated; `loss` must be among its losses.
        point: float64 (dimension,).
        directions: float64 (directions, dimension), in relative coordinates.
        step: h.
        loss: Name of a loss.
        advance: Told the number of images.
    """
    rows, flipped = [], []
    for direction in directions:
        ends = [point * torch.exp(sign * step * direction) for sign in (1.0, -1.0)]
        ahead, behind = problem.evaluate(ends, advance)
        rows.append((ahead.per_image[loss] - behind.per_image[loss]) / (2 * step))
        flipped.append(flipped_share(problem, *ends))
    return Slopes(step, np.stack(rows), float(np.mean(flipped)))


def agreements(
    gradients: Mapping[str, Tensor],
    directions: Tensor,
    slopes: Slopes,
    coordinates: Sequence[float],
    seed: int = 0,
) -> list[Agreement]:
    """Agreement of each gradient with measured slopes.

    Args:
        gradients: By estimator, float64 (dimension,), per relative coordinate.
        directions: Of `slopes`.
        slopes: At the same point.
        coordinates: Of the point, for the record.
        seed: Of the bootstrap over directions.
    """
    real = slopes.per_image.mean(1)
    level = bool(real.any())  # steps too short to flip a code change nothing
    halves = cosine(slopes.per_image[:, ::2].mean(1), slopes.per_image[:, 1::2].mean(1))
    found = []
    for name, gradient in gradients.items():
        expected = (directions @ gradient).numpy()
        draws = np.random.default_rng([seed, 37]).integers(0, len(real), (DRAWS, len(real)))
        sampled = np.array([cosine(expected[draw], real[draw]) for draw in draws])
        low, high = (
            np.nanquantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if level and expected.any() else (np.nan,) * 2
        )
        size = float(np.sqrt(np.mean(real**2)))
        found.append(
            Agreement(
                tuple(coordinates),
                name,
                slopes.step,
                cosine(expected, real),
                float(low),
                float(high),
                float(np.mean(np.sign(expected) == np.sign(real))) if level and expected.any() else float("nan"),
                halves,
                float(np.sqrt(np.mean(expected**2))) / size if size else float("nan"),
                slopes.flipped,
                len(real),
            )
        )
    return found


def cosine(a: FloatArray, b: FloatArray) -> float:
    """Cosine of two vectors; NaN where one is zero."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else float("nan")
