"""The smooth surrogate away from its point: the function whose exact gradient the straight-through estimate is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape.gradient.estimate import SurrogatePasses
from landscape.gradient.straight_through import Anchors

if TYPE_CHECKING:
    from landscape.problem import Problem


def surrogate_losses(
    problem: Problem,
    point: Tensor,
    others: Sequence[Tensor],
    loss: str = "infonce",
    how: str = "straight-through",
    images: int | Sequence[int] | None = None,
    dtype: str = "float64",
) -> Tensor:
    """Losses of the surrogate that is taken at one point, at other points; see `landscape.gradient.straight_through`.

    Args:
        problem: Network, images and losses.
        point: Where rounding residuals and ranges are frozen, float64 (dimension,).
        others: Where it is evaluated, each float64 (dimension,); at `point` its loss is the network's own.
        loss: Name of a loss.
        how: Name of an estimator.
        images: All (None), the first so many, or the images of these indices.
        dtype: ``float64`` or ``float32``.

    Returns:
        float64 (others, images).
    """
    passes = SurrogatePasses(problem, point, how, images, dtype)
    surrogate, space = passes.surrogate, problem.space
    logits = problem.teacher.repeat(len(others), 1, 1)
    with torch.no_grad():
        for rows, exact in passes.chunks():
            anchors: Anchors = {}
            for number, other in enumerate((point, *others)):
                scales = space.scales(other)
                weights = surrogate.moved_weights(passes.network, scales, passes.how)
                found = surrogate.logits(passes.network, scales, weights, exact, len(rows), passes.how, anchors)
                if number:
                    logits[number - 1, rows] = found.double()
        return torch.stack([passes.losses(loss, part) for part in logits])
