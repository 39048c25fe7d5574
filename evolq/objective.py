"""The objective: what a point of the search space is worth on the search images, and what it costs to know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from evolq.optimizer import Answer, Query
from evolq.space import FloatArray, NetworkSpace, SpaceInfo
from landscape.curvature.operator import PRODUCT_COST
from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.images import ImageSet
from landscape.losses import Outputs, loss_function, one_thread, per_image
from landscape.problem import Problem
from landscape.space import scale_space

Products = Callable[[FloatArray], FloatArray]
"""From a vector to its product with a matrix of second derivatives, both float64 (dimension,)."""


class Objective(Protocol):
    """What the driver needs of a problem; networks and analytic problems alike.

    Attributes:
        info: What optimizers see of the space.
        loss: Name of the loss.
        spent: Images through the full network that whatever was asked for has cost so far.
    """

    info: SpaceInfo
    loss: str
    spent: int

    def answer(self, query: Query) -> Answer:
        """Measure the points of a query; adds what it cost to `spent`."""
        ...

    def cost(self, query: Query) -> int:
        """What the query would cost, known before."""
        ...

    def curvature(self, point: FloatArray, kind: str, images: Sequence[int]) -> Products:
        """Products with the second derivatives of the loss on some images; each adds what it costs to `spent`.

        Args:
            point: Relative coordinates.
            kind: ``hessian``, ``ggn`` or ``fisher``.
            images: Indices.
        """
        ...

    def product_cost(self, kind: str) -> int:
        """What a product costs for each image, in images through the full network."""
        ...


def query_cost(query: Query, info: SpaceInfo) -> int:
    """Images through the full network: one for each image and point, three with a gradient (forward and backward).

    An evaluation that starts at a block in the middle counts in full, so that budgets compare methods, not caches.
    """
    images = info.images if query.parts is None else sum(info.parts[part] for part in query.parts)
    if query.images is not None:
        images = len(query.images)
    return len(query.points) * images * (3 if query.gradient else 1)


@dataclass
class FunctionObjective:
    """A function as an objective: for tests and for problems of one's own.

    Attributes:
        function: The mean loss at a point, float64 (dimension,), on the images of an index array.
        info: The space.
        slope: Its gradient, likewise, where there is one.
        hessian: Its matrix of second derivatives, likewise, where there is one.
        loss: Name.
    """

    function: object
    info: SpaceInfo
    slope: object = None
    hessian: object = None
    loss: str = "value"
    spent: int = 0

    def cost(self, query: Query) -> int:
        """See `query_cost`."""
        return query_cost(query, self.info)

    def answer(self, query: Query) -> Answer:
        """See `Objective`."""
        images = rows_of(query, self.info)
        function, slope = self.function, self.slope
        assert callable(function)
        values = np.array([float(function(point, images)) for point in query.points])
        part_values = gradients = None
        if query.gradient is None:
            rows, chosen = part_rows(self.info), measured_parts(query, self.info)
            part_values = np.array([[float(function(point, rows[part])) for part in chosen] for point in query.points])
        if query.gradient is not None:
            if not callable(slope):
                raise UserError("this problem has no gradient; choose a method that needs values only")
            gradients = np.stack([slope(point, images) for point in query.points])
        cost = self.cost(query)
        self.spent += cost
        return Answer(query, values, part_values, gradients, cost)

    def curvature(self, point: FloatArray, kind: str, images: Sequence[int]) -> Products:
        """Products with the second derivatives, see `Objective`."""
        if not callable(self.hessian):
            raise UserError("this problem has no second derivatives; choose another method")
        matrix = self.hessian(point, np.array(images))

        def product(vector: FloatArray) -> FloatArray:
            self.spent += self.product_cost(kind) * len(images)
            found: FloatArray = matrix @ vector
            return found

        return product

    def product_cost(self, kind: str) -> int:
        """See `Objective`."""
        return PRODUCT_COST[kind]


def part_rows(info: SpaceInfo) -> list[npt.NDArray[np.int64]]:
    """Indices of the images of each part: consecutive."""
    ends = np.cumsum(info.parts)
    return [np.arange(end - size, end) for end, size in zip(ends, info.parts, strict=True)]


def measured_parts(query: Query, info: SpaceInfo) -> tuple[int, ...]:
    """The parts that a query without a gradient is measured on, in order."""
    return tuple(range(len(info.parts))) if query.parts is None else query.parts


def rows_of(query: Query, info: SpaceInfo) -> npt.NDArray[np.int64]:
    """Indices of the images that a query is measured on."""
    if query.images is not None:
        return np.array(query.images)
    rows = part_rows(info)
    return np.concatenate(rows if query.parts is None else [rows[part] for part in query.parts])


@dataclass
class NetworkObjective:
    """A loss of a quantized network on search images, over a search space.

    Attributes:
        problem: Network, search images and losses; the network is the start.
        space: The parameters that move.
        loss: Name of the loss that is minimised.
        spent: See `Objective`.
        start: Losses of the single images at the start, where they are known.
    """

    problem: Problem
    space: NetworkSpace
    loss: str = "infonce"
    spent: int = 0
    start: Mapping[str, FloatArray] | None = None
    _kept: OrderedDict[tuple[int | None, int, bytes], Evaluator] = field(default_factory=OrderedDict, repr=False)
    _gradients: Problem | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the loss."""
        loss_function(self.loss)
        self.info = self.space.info
        self._rows = part_rows(self.info)
        # infoNCE contrasts images within batches of all search images; a part is one whole batch or several.
        self._images = [self.problem.images.select(rows.tolist()) for rows in self._rows]

    def cost(self, query: Query) -> int:
        """See `query_cost`."""
        return query_cost(query, self.info)

    def answer(self, query: Query) -> Answer:
        """See `Objective`."""
        answer = self._measure(query) if query.gradient is None else self._differentiate(query)
        self.spent += answer.cost
        return answer

    def _measure(self, query: Query) -> Answer:
        ends = np.cumsum([self.info.parts[part] for part in measured_parts(query, self.info)])[:-1]
        values, part_values = [], []
        for point in query.points:
            known = self.start if query.parts is None and not point.any() else None
            losses = (self.losses(point, query.group, query.parts) if known is None else known)[self.loss]
            values.append(float(losses.mean()))
            part_values.append([float(part.mean()) for part in np.split(losses, ends)])
        return Answer(query, np.array(values), np.array(part_values), None, self.cost(query))

    def losses(
        self, point: FloatArray, group: int | None = None, parts: tuple[int, ...] | None = None
    ) -> dict[str, FloatArray]:
        """Losses of the single images at a point, by name, each float64 (images,).

        Args:
            point: Relative coordinates.
            group: See `Query`.
            parts: Of the images; None for all.
        """
        network = self.space.at(point)
        parts = tuple(range(len(self._rows))) if parts is None else parts
        logits = [self._evaluator(point, group, number).logits(network) for number in parts]
        rows = np.concatenate([self._rows[number] for number in parts])
        problem = self.problem
        chosen = torch.from_numpy(rows)
        options = replace(problem.loss_options, names=tuple({*problem.loss_options.names, self.loss}))
        outputs = Outputs(torch.cat(logits), problem.images.labels[chosen], problem.teacher[chosen], options)
        with one_thread():
            return {name: loss.numpy() for name, loss in per_image(outputs).items()}

    def _evaluator(self, point: FloatArray, group: int | None, part: int) -> Evaluator:
        """An evaluator whose kept part is right for `point`: outside the group all is as when it was made."""
        outside = b""
        if group is not None:
            rest = point.copy()
            rest[self.info.groups[group]] = 0.0
            outside = rest.tobytes()
        key = (group, part, outside)
        if key not in self._kept:
            for old in [k for k in self._kept if k[0] is not None and (k[0], k[2]) != (key[0], key[2])]:
                del self._kept[old]  # another group or another place: its memory is better used here
            names = self.space.names if group is None else self.space.names_of_group(group)
            network = self.problem.network if group is None else self.space.at(point)
            memory = self.problem.cache_bytes // max(1, len(self._rows))
            images: ImageSet = self._images[part]
            self._kept[key] = Evaluator(network, images, names, self.problem.arithmetic, self.problem.chunk, memory)
        return self._kept[key]

    def _differentiate(self, query: Query) -> Answer:
        assert query.gradient is not None
        problem = self._differentiable()
        images = None if query.images is None and query.parts is None else rows_of(query, self.info).tolist()
        values, gradients, cost = [], [], 0
        for point in query.points:
            scales = self._scales(point)
            found = problem.gradient(scales, self.loss, query.gradient, images, "float32")
            values.append(found.value)
            gradients.append(self.space.gather(found.relative.numpy()))
            cost += found.cost
        return Answer(query, np.array(values), None, np.stack(gradients), cost)

    def _differentiable(self) -> Problem:
        """The problem over all scales that move, for derivatives."""
        if self.info.integer.any():
            raise UserError("zero points are integers and have no gradient; use --no-zero-points with this method")
        if self._gradients is None:
            network = self.problem.network
            self._gradients = replace(self.problem, network=network, space=scale_space(network, self.space.names))
        return self._gradients

    def curvature(self, point: FloatArray, kind: str, images: Sequence[int]) -> Products:
        """See `Objective`; the second derivatives are those of the straight-through surrogate."""
        operator = self._differentiable().curvature(
            self._scales(point), kind, self.loss, images=list(images), dtype="float32"
        )

        def product(vector: FloatArray) -> FloatArray:
            self.spent += self.product_cost(kind) * len(images)
            return self.space.gather(operator.matvec(self.space.spread(vector)))

        return product

    def product_cost(self, kind: str) -> int:
        """See `Objective`."""
        return PRODUCT_COST[kind]

    def _scales(self, point: FloatArray) -> torch.Tensor:
        network = self.space.at(point)
        return torch.cat([network.scale(name).reshape(-1) for name in self.space.names])


def split_evenly(images: int, batch: int) -> tuple[int, ...]:
    """Sizes of the parts that images are split into: those of infoNCE's batches, so that a part's loss is its share."""
    count = -(-images // batch)
    return tuple(len(part) for part in torch.arange(images).tensor_split(count))
