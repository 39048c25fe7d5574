"""Random search: independent points around the start; what any method has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.optimizer import Answer, Optimizer, Query
from landscape.errors import UserError


@dataclass(frozen=True)
class RandomOptions:
    """Settings of random search.

    Attributes:
        smallest: Smallest standard deviation of the relative coordinates.
        largest: Largest; each point draws its own between the two, evenly in the logarithm.
    """

    smallest: float = 0.003
    largest: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise UserError("random search needs 0 < smallest <= largest standard deviation")


@dataclass
class RandomSearch(Optimizer):
    """Points e = sigma n, n standard normal, sigma drawn for each point; zero points move by sigma times 10 codes."""

    Options: ClassVar[type[Any]] = RandomOptions
    STATE: ClassVar[tuple[str, ...]] = ("best",)

    def start(self) -> None:
        """Nothing is known yet."""
        self.best = np.inf

    def ask(self) -> Query:
        """One point."""
        low, high = np.log(self.options.smallest), np.log(self.options.largest)
        sigma = np.exp(self.generator.uniform(low, high))
        unit = np.where(self.space.integer, 10.0, 1.0)
        return Query((sigma * unit * self.generator.standard_normal(self.space.dimension))[None])

    def tell(self, answer: Answer) -> list[bool]:
        """Remember the best."""
        better = bool(answer.values[0] < self.best)
        if better:
            self.best = float(answer.values[0])
        return [better]
