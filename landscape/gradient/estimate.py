"""The gradient of a problem's loss at a point: one exact forward pass, then a surrogate's backward pass in chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landscape.engine.native.values import Deferred
from landscape.engine.values import Codes, Value
from landscape.errors import UserError
from landscape.gradient.straight_through import Estimator, estimator
from landscape.gradient.surrogate import PIXELS, Surrogate, number
from landscape.losses import Outputs, loss_function
from landscape.quant.network import QuantizedNetwork

if TYPE_CHECKING:
    from landscape.problem import Problem

BACKWARD_COST = 2
"""Passes through the network that a backward pass counts as: two products for each one of the forward pass."""

DTYPES: Mapping[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Gradient:
    """A gradient of the mean loss over the images.

    Attributes:
        value: The exact loss at the point: nats, or the unit of the loss.
        gradient: dL/ds, float64 (dimension,): per unit of each scale.
        relative: dL/de, float64 (dimension,), for s exp(e): per unit of the coordinate; point * gradient.
        per_image: The loss of each image used, float64 (images,).
        images: How many images it is the mean over.
        cost: In images through the full network: forward and backward pass, 3 for each image; 1 where no derivative
            passes (see `landscape.gradient.ESTIMATORS`), so that there is no backward pass.
        seconds: Time that it took.
    """

    value: float
    gradient: Tensor
    relative: Tensor
    per_image: npt.NDArray[np.float64]
    images: int
    cost: int
    seconds: float


def gradient_at(
    problem: Problem,
    point: Tensor,
    loss: str = "infonce",
    how: str = "straight-through",
    images: int | Sequence[int] | None = None,
    dtype: str = "float64",
    progress: Callable[[int], None] | None = None,
) -> Gradient:
    """Estimate the gradient of a loss at a point; see `Problem.gradient`."""
    start = time.perf_counter()
    passes = SurrogatePasses(problem, point, how, images, dtype)
    losses, cotangent = passes.cotangent(loss)
    leaf = point.detach().clone().requires_grad_()
    total, used, done = torch.zeros_like(point), len(losses), 0
    for rows, logits in passes.logits(leaf):
        if not logits.requires_grad:  # no derivative passes, for these images as for all others
            break
        (part,) = torch.autograd.grad(logits, leaf, cotangent[rows].to(logits.dtype))
        total += part
        done += len(rows)
        if progress is not None:
            progress(len(rows))
    if progress is not None and done < used:
        progress(used - done)
    cost = used * (1 + BACKWARD_COST if done else 1)
    seconds = time.perf_counter() - start
    return Gradient(float(losses.mean()), total, point * total, losses.numpy(), used, cost, seconds)


class SurrogatePasses:
    """The surrogate of a problem at a point, over its images in chunks.

    Args:
        problem: Network, images and losses.
        point: float64 (dimension,).
        how: Name of an estimator.
        images: All (None), the first so many, or the images of these indices.
        dtype: ``float64`` or ``float32``.

    Raises:
        UserError: The point, the estimator, the images or the number type cannot be used.
    """

    def __init__(
        self,
        problem: Problem,
        point: Tensor,
        how: str = "straight-through",
        images: int | Sequence[int] | None = None,
        dtype: str = "float64",
    ) -> None:
        if dtype not in DTYPES:
            raise UserError(f"unknown number type {dtype!r} of gradients; give one of {', '.join(DTYPES)}")
        self.problem, self.point = problem, point
        self.how: Estimator = estimator(how)
        self.chosen = _chosen(images, len(problem.images))
        self.network: QuantizedNetwork = problem.network.with_scales(problem.space.scales(point))
        self.surrogate: Surrogate = problem.surrogate(DTYPES[dtype])

    def exact_logits(self) -> Tensor:
        """The engine's logits of all images, float64 (N, classes); the teacher's for images that are not chosen."""
        output = self.problem.network.graph.output
        logits = self.problem.teacher.clone()
        for rows, values in self.problem.evaluator.passes(self.network, (), self._set):
            logits[rows] = number(values[output], torch.float64)
        return logits

    def cotangent(self, loss: str) -> tuple[Tensor, Tensor]:
        """Losses of the chosen images, and the derivative of their mean with respect to the logits of all images.

        Images that are not chosen take part in infoNCE's contrast (through the teacher) and have no loss of their own.

        Raises:
            UserError: The loss is unknown or has no derivative.
        """
        logits = self.exact_logits().requires_grad_()
        losses = self.losses(loss, logits)
        if not losses.requires_grad:
            raise UserError(f"{loss} has no derivative; give a smooth loss such as loss or infonce")
        (cotangent,) = torch.autograd.grad(losses.mean(), logits)
        return losses.detach(), cotangent

    def losses(self, loss: str, logits: Tensor) -> Tensor:
        """A loss of the chosen images, float64 (chosen,), from the logits of all."""
        return loss_function(loss)(self._outputs(logits))[torch.tensor(self.chosen)]

    def logits(self, leaf: Tensor, size: int | None = None) -> Iterator[tuple[list[int], Tensor]]:
        """The surrogate's logits of the chosen images, some at a time, as functions of `leaf`, the point.

        Args:
            leaf: The point; carries the graph.
            size: Images at a time; the engine's chunk if None.

        Yields:
            Which images, and their logits in the surrogate's number type.
        """
        for rows, selected in self.chunks(size):
            yield rows, self.chunk_logits(leaf, rows, selected)

    def chunk_logits(self, leaf: Tensor, rows: list[int], selected: Mapping[str, Value]) -> Tensor:
        """The surrogate's logits of a chunk's images; with a graph of their own, which the backward pass frees.

        Args:
            leaf: As in `logits`.
            rows: Which images.
            selected: Their exact values, see `chunks`.
        """
        scales = self.problem.space.scales(leaf)
        weights = self.surrogate.moved_weights(self.network, scales, self.how)
        return self.surrogate.logits(self.network, scales, weights, selected, len(rows), self.how)

    def chunks(self, size: int | None = None) -> Iterator[tuple[list[int], dict[str, Value]]]:
        """Exact values of the chosen images, some at a time; see `Evaluator.passes`."""
        graph = self.problem.network.graph
        for part, values in self.problem.evaluator.passes(self.network, self.surrogate.quantized, self._set):
            count = part.stop - part.start
            local = [index for index in range(count) if part.start + index in self._set]
            step = len(local) if size is None else size
            for some in (local[i : i + step] for i in range(0, len(local), step)):
                selected = values
                if len(some) < count:
                    selected = {
                        name: _rows(value, some, count) if graph[name].shape[:1] == (-1,) else value
                        for name, value in values.items()
                    }
                rows = [part.start + index for index in some]
                if "input" in self.problem.evaluator.changing:
                    selected = {**selected, PIXELS: self.problem.images.normalized(rows, torch.float64)}
                yield rows, selected

    @property
    def _set(self) -> set[int]:
        return set(self.chosen)

    def _outputs(self, logits: Tensor) -> Outputs:
        problem = self.problem
        return Outputs(logits, problem.images.labels, problem.teacher, problem.loss_options)


def _chosen(images: int | Sequence[int] | None, count: int) -> list[int]:
    if images is None:
        return list(range(count))
    chosen: list[Any] = list(range(images)) if isinstance(images, int) else sorted(set(images))
    if not chosen or chosen[0] < 0 or chosen[-1] >= count:
        raise UserError(f"images {images!r} of a gradient are not among the problem's {count}; give fewer, or indices")
    return chosen


def _rows(value: Value, rows: list[int], count: int) -> Value:
    """The values of some images of a chunk; the first axis holds the images, or a multiple of them."""

    def pick(tensor: Tensor) -> Tensor:
        return tensor.reshape(count, -1, *tensor.shape[1:])[rows].reshape(-1, *tensor.shape[1:])

    if isinstance(value, Codes) and not isinstance(value, Deferred):
        return Codes(pick(value.integers), value.scale)
    return pick(number(value, torch.float64))
