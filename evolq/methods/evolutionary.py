"""Evol-Q as released: a small evolutionary search over the weight scales of one attention block at a time.

Frumkin, Gope, Marculescu, ICCV 2023, arXiv 2308.10814, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.optimizer import Answer, Optimizer, Query
from evolq.space import FloatArray
from landscape.errors import UserError


@dataclass(frozen=True)
class EvolQOptions:
    """Settings of the block-wise search; the defaults are the **released** ones.

    Attributes:
        passes: P, how often the blocks are gone through, from the last to the first.
        population: K, copies of the current point that a block begins with.
        cycles: C, children of each block.
        tournament: S, members drawn with replacement, of which the fittest is the parent.
        mutation: Half width of the uniform noise on each scale; None: 1e-3 below 8 bits, 1e-4 at 8 (**released**).
        relative: Noise on the relative coordinate e instead of the scale itself (**ours**).
    """

    passes: int = 10
    population: int = 15
    cycles: int = 3
    tournament: int = 10
    mutation: float | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        for name in ("passes", "population", "cycles", "tournament"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of Evol-Q is {getattr(self, name)}; give at least 1")
        if self.mutation is not None and not self.mutation > 0:
            raise UserError(f"mutation of Evol-Q is {self.mutation:g}; give a positive number")


@dataclass
class EvolQ(Optimizer):
    """Block-wise evolutionary search.

    For each pass and each block: the population is K copies of the current point, which is measured once. Each cycle
    draws S members with replacement, takes the fittest as parent, mutates all scales of the block, measures the child,
    inserts it and drops the worst. The best member is the current point from then on.

    Ties, where the released code crashes (**ours**): of equally fit drawn members the first drawn is the parent; of
    equally bad ones the oldest is dropped; of equally good ones the oldest is kept. NaN is worse than any number.
    One block costs 1 + C evaluations, so 10 passes over 12 blocks with C = 3 cost 480.
    """

    STATE: ClassVar[tuple[str, ...]] = ("block", "left", "current", "members", "fitness", "child")
    Options: ClassVar[type[Any]] = EvolQOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {},
        "relative": {"options": {"relative": True, "mutation": 0.03}},
        "ours": {"class": "evolq.methods.layerwise:LayerwiseEvolQ"},
    }
    SPACE: ClassVar[dict[str, Any]] = {"scales": "attention"}

    def start(self) -> None:
        """Begin with the last block of the first pass."""
        self.left = self.options.passes * len(self.space.groups)
        self.block = len(self.space.groups) - 1
        self.current: FloatArray = np.zeros(self.space.dimension)
        self.members: FloatArray = np.zeros((0, self.space.dimension))
        self.fitness: FloatArray = np.zeros(0)
        self.child = 0

    def ask(self) -> Query | None:
        """The current point when a block begins, then one child at a time."""
        if self.left == 0:
            return None
        point = self.current if not len(self.members) else self._mutated(self.members[self._parent()])
        return Query(point[None].copy(), group=self.block)

    def tell(self, answer: Answer) -> list[bool]:
        """Fill the population, or insert the child and drop the worst."""
        point, value = answer.query.points[0], _fitness(float(answer.values[0]))
        columns = self.space.groups[self.block]
        if not len(self.members):
            # Members differ within the block only, so only that part of them is kept.
            self.members = np.repeat(point[None, columns], self.options.population, axis=0)
            self.fitness = np.full(self.options.population, value)
            accepted = True
        else:
            accepted = value < self.fitness.min()
            self.members = np.concatenate([self.members, point[None, columns]])
            self.fitness = np.append(self.fitness, value)
            worst = int(np.argmax(self.fitness))  # the first, so the oldest, of equals
            self.members = np.delete(self.members, worst, axis=0)
            self.fitness = np.delete(self.fitness, worst)
            self.child += 1
        if self.child == self.options.cycles:
            self._next_block()
        return [accepted]

    def _parent(self) -> int:
        drawn = self.generator.integers(0, len(self.members), self.options.tournament)
        return int(drawn[np.argmin(self.fitness[drawn])])

    def _mutated(self, member: FloatArray) -> FloatArray:
        columns = self.space.groups[self.block]
        width = self._width(columns)
        noise = self.generator.uniform(-1.0, 1.0, len(columns)) * width
        point = self.current.copy()
        if self.options.relative:
            point[columns] = member + noise
        else:
            start = self.space.centre[columns]
            with np.errstate(divide="ignore"):  # a scale of exactly zero becomes the smallest that is allowed
                point[columns] = np.log(np.abs(start * np.exp(member) + noise) / start)
        return point

    def _width(self, columns: Any) -> FloatArray:
        if self.options.mutation is not None:
            return np.full(len(columns), self.options.mutation)
        return np.where(self.space.bits[columns] >= 8, 1e-4, 1e-3)

    def _next_block(self) -> None:
        best = int(np.argmin(self.fitness))
        self.current[self.space.groups[self.block]] = self.members[best]
        self.members = np.zeros((0, self.space.dimension))
        self.fitness = np.zeros(0)
        self.child = 0
        self.left -= 1
        self.block = (self.block - 1) % len(self.space.groups)


def _fitness(value: float) -> float:
    """The loss, with NaN as the worst there is."""
    return np.inf if np.isnan(value) else value
