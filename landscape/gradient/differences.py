"""Finite differences of the exact loss: what a step of a stated length really changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from landscape.problem import Problem


@dataclass(frozen=True)
class Difference:
    """A central finite difference in relative coordinates.

    Attributes:
        slope: (L(s exp(h d)) - L(s exp(-h d))) / 2h, the loss per unit of the coordinate.
        standard_error: Of `slope`, over the choice of images; NaN for a single image.
        step: h.
        cost: In images through the full network.
    """

    slope: float
    standard_error: float
    step: float
    cost: int


def directional_difference(problem: Problem, point: Tensor, direction: Tensor, step: float, loss: str) -> Difference:
    """The central difference along a direction.

    Args:
        problem: What is evaluated; `loss` must be among its losses.
        point: float64 (dimension,).
        direction: float64 (dimension,), in relative coordinates (unit RMS for slopes per unit RMS).
        step: h, in units of the coordinate.
        loss: Name of a loss.

    Raises:
        ValueError: The step is not positive.
    """
    if not step > 0:
        raise ValueError(f"step is {step}; expected a positive number")
    ahead, behind = problem.evaluate([point * torch.exp(step * direction), point * torch.exp(-step * direction)])
    slopes = (ahead.per_image[loss] - behind.per_image[loss]) / (2 * step)
    error = float(slopes.std(ddof=1) / np.sqrt(len(slopes))) if len(slopes) > 1 else float("nan")
    return Difference(float(slopes.mean()), error, step, 2 * len(problem.images))


def coordinate_difference(problem: Problem, point: Tensor, index: int, step: float, loss: str) -> Difference:
    """The central difference along the relative coordinate of one scale."""
    direction = torch.zeros_like(point)
    direction[index] = 1.0
    return directional_difference(problem, point, direction, step, loss)
