"""The problem: a quantized network, the scales that may move, images and losses.

Scans and optimizers see a problem, never a network. It answers what a point in scale space is worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from landscape.curvature.operator import SurrogateCurvature
from landscape.engine import Arithmetic, Evaluator
from landscape.gradient import Gradient, Surrogate, gradient_at
from landscape.images import ImageSet
from landscape.losses import LossOptions, Outputs, means, per_image
from landscape.quant.network import QuantizedNetwork
from landscape.space import ScaleSpace, listed

FLIP_IMAGES = 16
"""Images on which flips of activation codes are counted."""

TEACHER_BATCH = 8


@dataclass(frozen=True)
class Evaluation:
    """What a point is worth.

    Attributes:
        values: Means over the images: ``loss`` (cross-entropy, nats), ``top1`` (percent), ``infonce`` (nats, times 2T),
            and ``flip_rate`` (share of integer codes that differ from the centre's, 0 to 1).
        per_image: The losses of the single images, float64 (N,); ``top1`` is 0.0 or 1.0.
        seconds: Time that it took; of points that were evaluated together, an equal share.
    """

    values: Mapping[str, float]
    per_image: Mapping[str, npt.NDArray[np.float64]]
    seconds: float


@dataclass(repr=False)
class Problem:
    """A quantized network, the scales that may move, images and losses.

    Attributes:
        network: The calibrated network, the centre.
        space: The scales that may move.
        images: What the losses are averaged over.
        teacher: Logits of the float network on these images, float64 (N, classes); see `teacher_logits`.
        arithmetic: The engine.
        loss_options: Temperature and batch of infoNCE.
        chunk: Images at a time; has no influence on any value.
        cache_bytes: Memory for the part of the network that no moving scale reaches.
        description: Where everything comes from, as plain data; stored with every run.
    """

    network: QuantizedNetwork
    space: ScaleSpace
    images: ImageSet
    teacher: Tensor
    arithmetic: Arithmetic
    loss_options: LossOptions = field(default_factory=LossOptions)
    chunk: int = 8
    cache_bytes: int = 2 << 30
    description: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evaluator = Evaluator(
            self.network, self.images, self.space.names, self.arithmetic, self.chunk, self.cache_bytes
        )
        self._centre_codes: dict[str, Tensor] | None = None
        self._surrogates: dict[torch.dtype, Surrogate] = {}

    def __repr__(self) -> str:
        """One line: network and bits, what moves, images, engine."""
        network = f"{self.description.get('model', 'network')} {self.network.scheme.bits}"
        moving = f"{self.space.dimension} scales of {listed(self.space.names)}"
        return f"Problem({network}, {moving}, {len(self.images)} images, engine {self.engine})"

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._evaluator.centre.name

    @property
    def centre(self) -> Tensor:
        """The calibrated scales, float64 (dimension,)."""
        return self.space.centre

    @property
    def evaluator(self) -> Evaluator:
        """The engine on these images; keeps the part of the network that no moving scale reaches."""
        return self._evaluator

    def surrogate(self, dtype: torch.dtype = torch.float64) -> Surrogate:
        """The differentiable twin of the network, made when it is first asked for."""
        if dtype not in self._surrogates:
            evaluator = self._evaluator
            self._surrogates[dtype] = Surrogate(self.network, evaluator.changing, self.space.names, dtype)
        return self._surrogates[dtype]

    def gradient(
        self,
        point: Tensor,
        loss: str = "infonce",
        estimator: str = "straight-through",
        images: int | Sequence[int] | None = None,
        dtype: str = "float64",
        progress: Callable[[int], None] | None = None,
    ) -> Gradient:
        """Estimate the gradient of the mean loss with respect to the scales that may move.

        The value is exact; the gradient is that of a surrogate around the exact codes, see
        `landscape.gradient.straight_through`. Its sums are ordinary floating-point sums: repeatable on one machine with
        the same chunks and threads, not to the last bit elsewhere.

        Args:
            point: float64 (dimension,), positive.
            loss: Name of a loss; any but ``top1``.
            estimator: ``straight-through``, ``frozen-weights`` or ``almost-everywhere``; with quantized activations the
                last is zero for all weight scales, see `landscape.gradient.ESTIMATORS`.
            images: All (None), the first so many, or those of these indices; infoNCE still contrasts each with its
                whole batch, so indices drawn at random estimate the gradient over all images without bias.
            dtype: ``float64``, or ``float32`` for speed; the codes are exact with both.
            progress: Told the number of images after each chunk.

        Returns:
            Value, gradient per scale and per relative coordinate, and what it cost.

        Raises:
            UserError: A name is unknown, the loss has no derivative, or a scale is not positive and finite.
        """
        return gradient_at(self, point, loss, estimator, images, dtype, progress)

    def curvature(
        self,
        point: Tensor,
        kind: str = "hessian",
        loss: str = "infonce",
        *,
        relative: bool = True,
        estimator: str = "straight-through",
        images: int | Sequence[int] | None = None,
        dtype: str = "float64",
    ) -> SurrogateCurvature:
        """Second derivatives of the mean loss over the scales that may move, as a scipy ``LinearOperator``.

        They are those of the straight-through surrogate at the point; the loss itself has none. Curvature of the float
        network: `landscape.curvature.float_network`.

        Args:
            point: float64 (dimension,), positive.
            kind: ``hessian``, ``ggn`` or ``fisher``; see `SurrogateCurvature`.
            loss: Name of a loss; any but ``top1``.
            relative: Over relative coordinates e, s = point exp(e), as directions are; else over the scales.
            estimator: As for `gradient`.
            images: As for `gradient`.
            dtype: As for `gradient`.

        Returns:
            float64 (dimension, dimension), symmetric; its `cost` counts images through the full network.

        Raises:
            UserError: A name is unknown, the loss has no derivative, or a scale is not positive and finite.
        """
        return SurrogateCurvature(self, point, kind, loss, relative=relative, how=estimator, images=images, dtype=dtype)

    def float_values(self) -> dict[str, float]:
        """Means of all losses of the float network."""
        return means(self._losses(self.teacher))

    def evaluate(
        self, points: Sequence[Tensor] | Tensor, progress: Callable[[int], None] | None = None
    ) -> list[Evaluation]:
        """What points are worth.

        Args:
            points: Each float64 (dimension,), positive: the scales one after another.
            progress: Told the number of images after each chunk.

        Returns:
            One `Evaluation` a point, exact: equal for every batch size, thread count and order.

        Raises:
            UserError: A scale is not positive and finite.
        """
        return list(self.evaluations(points, progress))

    def evaluations(
        self, points: Iterable[Tensor], progress: Callable[[int], None] | None = None
    ) -> Iterator[Evaluation]:
        """What points are worth, one after another as they are found, so that each can be stored at once.

        Points are drawn as they are needed: as many at a time as the engine had best be given together.

        Args:
            points: As in `evaluate`.
            progress: As in `evaluate`.

        Yields:
            One `Evaluation` a point, in order.
        """
        points, size = iter(points), self._evaluator.candidates_at_once
        while group := list(islice(points, size)):
            yield from self._evaluate(group, progress)

    def _evaluate(self, points: Sequence[Tensor], progress: Callable[[int], None] | None) -> list[Evaluation]:
        start = time.perf_counter()
        networks = [self.network.with_scales(self.space.scales(point)) for point in points]
        found = []
        for network, logits in zip(networks, self._evaluator.logits_of(networks, progress), strict=True):
            losses = self._losses(logits)
            values = {**means(losses), "flip_rate": self._flip_rate(network)}
            found.append((values, {name: loss.numpy() for name, loss in losses.items()}))
        seconds = (time.perf_counter() - start) / len(networks)
        return [Evaluation(values, per_image, seconds) for values, per_image in found]

    def _losses(self, logits: Tensor) -> dict[str, Tensor]:
        return per_image(Outputs(logits, self.images.labels, self.teacher, self.loss_options))

    def _flip_rate(self, network: QuantizedNetwork) -> float:
        """Share of the codes of all moving tensors that differ from the centre's."""
        codes = self._codes(network)
        if self._centre_codes is None:
            self._centre_codes = self._codes(self.network)
        flips = sum(int((codes[name] != self._centre_codes[name]).sum()) for name in codes)
        return flips / sum(tensor.numel() for tensor in codes.values())

    def _codes(self, network: QuantizedNetwork) -> dict[str, Tensor]:
        layers = [name.removesuffix(".weight") for name in self.space.names if name.endswith(".weight")]
        codes = {f"{layer}.weight": _weight_codes(network, layer) for layer in layers}
        nodes = [name.removesuffix(".output") for name in self.space.names if name.endswith(".output")]
        if nodes:
            found = self._evaluator.codes(network, nodes, min(FLIP_IMAGES, len(self.images)))
            codes.update({f"{node}.output": integers for node, integers in found.items()})
        return codes


def _weight_codes(network: QuantizedNetwork, layer: str) -> Tensor:
    weight = network.graph[layer].weight
    assert weight is not None
    return network.weights[layer].codes(weight).to(torch.uint8)


def teacher_logits(module: nn.Module, images: ImageSet, progress: Callable[[int], None] | None = None) -> Tensor:
    """Logits of the untouched float network.

    Computed in float64 and rounded to float32 numbers, so that the order of float64 sums does not show.

    Args:
        module: The float network; it is not changed.
        images: N images.
        progress: Told the number of images after each batch.

    Returns:
        float64 (N, classes).
    """
    parameters = {
        name: value.double() if value.is_floating_point() else value for name, value in _tensors(module).items()
    }
    logits = []
    with torch.no_grad():
        for start in range(0, len(images), TEACHER_BATCH):
            batch = images.normalized(slice(start, start + TEACHER_BATCH), torch.float64)
            logits.append(torch.func.functional_call(module, parameters, (batch,)).float().double())
            if progress is not None:
                progress(batch.shape[0])
    return torch.cat(logits)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
