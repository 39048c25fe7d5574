"""Coordinate search: one coordinate at a time, up and down, with a step of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.optimizer import Answer, Optimizer, Query
from landscape.errors import UserError


@dataclass(frozen=True)
class CoordinateOptions:
    """Settings of coordinate search.

    Attributes:
        step: First step of every relative coordinate; zero points step by one code.
        grow: Factor of the step after a success.
        shrink: Factor after neither direction was better.
        smallest: A coordinate whose step is below this rests.
    """

    step: float = 0.05
    grow: float = 2.0
    shrink: float = 0.5
    smallest: float = 0.002

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.grow >= 1 and 0 < self.shrink < 1 and self.smallest > 0):
            raise UserError("coordinate search needs step > 0, grow >= 1, 0 < shrink < 1 and smallest > 0")


@dataclass
class CoordinateSearch(Optimizer):
    """Hooke and Jeeves' exploratory moves: try +step, then -step; keep what is strictly better (1961).

    Coordinates are taken group by group from the last to the first, in random order within a group. A step turns its
    sign when the other direction helped, so the direction that helped last is tried first.
    """

    Options: ClassVar[type[Any]] = CoordinateOptions
    STATE: ClassVar[tuple[str, ...]] = ("point", "value", "steps", "queue", "tried")
    SPACE: ClassVar[dict[str, Any]] = {"scales": "all", "tie": True}

    def start(self) -> None:
        """At the start, whose value is measured first."""
        self.point = np.zeros(self.space.dimension)
        self.value = np.nan
        self.steps = np.where(self.space.integer, 1.0, self.options.step)
        self.queue = np.zeros((0, 2), dtype=np.int64)
        self.tried = 0

    def ask(self) -> Query | None:
        """The start, then the next coordinate's next direction."""
        if np.isnan(self.value):
            return Query(self.point[None].copy())
        if not len(self.queue):
            self._fill()
            if not len(self.queue):
                return None
        index, group = self.queue[0]
        point = self.point.copy()
        point[index] += self.steps[index] * (1.0 if self.tried == 0 else -1.0)
        return Query(point[None], group=int(group))

    def tell(self, answer: Answer) -> list[bool]:
        """Move if better; else try the other direction, then take smaller steps."""
        value = float(answer.values[0])
        if not len(self.queue):
            self.value = np.inf if np.isnan(value) else value
            return [True]
        index = int(self.queue[0, 0])
        if value < self.value:
            self.point, self.value = answer.query.points[0].copy(), value
            self.steps[index] *= self.options.grow * (1.0 if self.tried == 0 else -1.0)
            self._next()
            return [True]
        self.tried += 1
        if self.tried == 2:
            self.steps[index] *= self.options.shrink
            self._next()
        return [False]

    def _next(self) -> None:
        self.queue = self.queue[1:]
        self.tried = 0

    def _fill(self) -> None:
        rows = []
        for group in reversed(range(len(self.space.groups))):
            for index in self.generator.permutation(self.space.groups[group]).tolist():
                if abs(self.steps[index]) >= (1.0 if self.space.integer[index] else self.options.smallest):
                    rows.append((index, group))
        self.queue = np.array(rows, dtype=np.int64).reshape(-1, 2)
