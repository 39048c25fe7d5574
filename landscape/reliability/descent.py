"""How far the loss falls along a step against a gradient, on the gradient's images and on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landscape.bootstrap import bootstrap_interval
from landscape.reliability.flips import flipped_share
from landscape.reliability.records import Descent

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]

RANDOM = "random"
"""As an estimator: a random direction, of which no slope is known."""


def unit(direction: Tensor) -> Tensor:
    """A direction of root mean square 1; zero stays zero."""
    size = direction.square().mean().sqrt()
    return direction / size if size > 0 else direction


def descend(
    problem: Problem,
    point: Tensor,
    gradient: Tensor,
    steps: Sequence[float],
    loss: str,
    *,
    estimator: str,
    images: str,
    coordinates: Sequence[float],
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Descent:
    """Losses along s exp(-t g / rms(g)).

    Args:
        problem: Whose images the loss is taken over.
        point: Where it starts, float64 (dimension,).
        gradient: g, per relative coordinate; may come from other images.
        steps: t, ascending.
        loss: Name of a loss among the problem's.
        estimator: For the record.
        images: ``calibration`` or ``test``, for the record.
        coordinates: Of the point, for the record.
        seed: Of the bootstrap.
        advance: Told the number of images.
    """
    down = -unit(gradient)
    points = [point * torch.exp(step * down) for step in steps]
    start, *others = problem.evaluate([point, *points], advance)
    differences = np.stack([each.per_image[loss] - start.per_image[loss] for each in others])
    low, high = bootstrap_interval(differences, seed=seed)
    change = differences.mean(1)
    slope = float(gradient @ down) if estimator != RANDOM else float("nan")
    best = int(np.argmin(change))
    ends = [step for step, value in zip(steps, change, strict=True) if not value <= 0]
    return Descent(
        tuple(coordinates),
        estimator,
        images,
        loss,
        tuple(steps),
        tuple(change.tolist()),
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(slope * step for step in steps),
        ends[0] if ends else None,
        float(steps[best]) if change[best] < 0 else 0.0,
        min(float(change[best]), 0.0),
        tuple(flipped_share(problem, point, end) for end in points),
    )
