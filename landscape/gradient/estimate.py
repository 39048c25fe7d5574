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

from landscape.engine.values import Value
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
    operands = passes.operands(leaf)
    # Scales and weights are leaves of each chunk's graph; what they owe to the point is worked out once, at the end.
    cut = operands.mapped(lambda tensor: tensor.detach().requires_grad_(tensor.requires_grad))
    sums = [torch.zeros_like(tensor) for tensor in cut.moving]
    used, done = len(losses), 0
    for rows, selected in passes.chunks():
        logits = passes.logits(cut, rows, selected)
        if not logits.requires_grad:  # no derivative passes, for these images as for all others
            break
        add(sums, torch.autograd.grad(logits, cut.moving, cotangent[rows].to(logits.dtype), allow_unused=True))
        done += len(rows)
        if progress is not None:
            progress(len(rows))
    (total,) = torch.autograd.grad(operands.moving, leaf, sums)
    if progress is not None and done < used:
        progress(used - done)
    cost = used * (1 + BACKWARD_COST if done else 1)
    seconds = time.perf_counter() - start
    return Gradient(float(losses.mean()), total, point * total, losses.numpy(), used, cost, seconds)


@dataclass(frozen=True)
class Operands:
    """What the surrogate computes with besides exact values.

    Attributes:
        scales: The scales that may move, by name, float64.
        weights: The layers' weights that depend on them, by layer, in the surrogate's number type.
    """

    scales: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, the scales first."""
        return [*self.scales.values(), *self.weights.values()]

    @property
    def moving(self) -> list[Tensor]:
        """Those that carry a graph: that depend on the point, as estimators see it."""
        return [tensor for tensor in self.tensors if tensor.requires_grad]

    def replaced(self, tensors: Sequence[Tensor]) -> Operands:
        """Others in their places."""
        count = len(self.scales)
        scales = dict(zip(self.scales, tensors[:count], strict=True))
        return Operands(scales, dict(zip(self.weights, tensors[count:], strict=True)))

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Operands:
        """The image of each under a function."""
        return self.replaced([function(tensor) for tensor in self.tensors])


def add(sums: Sequence[Tensor], parts: Sequence[Tensor | None]) -> None:
    """Add to each sum its part, where there is one."""
    for total, part in zip(sums, parts, strict=True):
        if part is not None:
            total += part.detach()


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
        for rows, values in self.problem.evaluator.passes(self.network, (), self.chosen):
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

    def operands(self, leaf: Tensor) -> Operands:
        """What the pass computes with, as functions of `leaf`, the point.

        Args:
            leaf: float64 (dimension,); carries the graph.
        """
        scales = self.problem.space.scales(leaf)
        return Operands(scales, self.surrogate.moved_weights(self.network, scales, self.how))

    def logits(self, operands: Operands, rows: list[int], selected: Mapping[str, Value]) -> Tensor:
        """The surrogate's logits of some images, (rows, classes) in its number type.

        Args:
            operands: Of `operands`, or in their place.
            rows: Which images.
            selected: Their exact values, see `chunks`.
        """
        return self.surrogate.logits(self.network, operands.scales, operands.weights, selected, len(rows), self.how)

    def chunks(self, size: int | None = None) -> Iterator[tuple[list[int], dict[str, Value]]]:
        """Exact values of the chosen images, `size` at a time, or what the engine takes; see `Evaluator.passes`."""
        evaluator = self.problem.evaluator
        for whole, values in evaluator.passes(self.network, self.surrogate.quantized, self.chosen):
            step = len(whole) if size is None else size
            for start in range(0, len(whole), step):
                rows = whole[start : start + step]
                selected = evaluator.picked(values, range(start, start + len(rows)), len(whole))
                if "input" in evaluator.changing:
                    selected[PIXELS] = self.problem.images.normalized(rows, torch.float64)
                yield rows, selected

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
