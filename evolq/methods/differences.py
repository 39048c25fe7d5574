"""Gradient estimates from values alone: simultaneous perturbation and finite differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.methods.gradient import SGD, GradientOptions
from evolq.optimizer import Answer, Needs, Query
from evolq.space import FloatArray
from landscape.errors import UserError


@dataclass(frozen=True)
class DifferenceOptions(GradientOptions):
    """Settings of gradient estimates from differences; those of `GradientOptions` besides.

    Attributes:
        distance: Half the distance of the two points of a difference: relative coordinates; zero points: one code.
        parts: Parts of the search images that both points are measured on, drawn anew for each step; the same for both,
            so that what an image adds to both cancels. A part is one batch of infoNCE.
        directions: Coordinates that finite differences are taken along in a step, drawn anew; the others rest.
    """

    distance: float = 0.01
    parts: int = 1
    directions: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.distance > 0 or self.parts < 1 or self.directions < 1:
            raise UserError("differences need distance > 0, parts >= 1 and directions >= 1")


@dataclass
class SPSA(SGD):
    """Simultaneous perturbation (Spall 1992): two values along a random sign vector estimate the whole gradient."""

    needs: ClassVar[Needs] = "values"
    Options: ClassVar[type[Any]] = DifferenceOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    STATE: ClassVar[tuple[str, ...]] = (*SGD.STATE, "moves")

    def start(self) -> None:
        """See `GradientMethod`."""
        self.moves: FloatArray = np.zeros((0, self.space.dimension))
        super().start()

    def gradient_query(self) -> Query:
        """Pairs of points, on some parts of the images."""
        self.moves = self.draw() * np.where(self.space.integer, 1.0 / self.options.distance, 1.0)
        parts = None
        if self.options.parts < len(self.space.parts):
            chosen = self.generator.permutation(len(self.space.parts))[: self.options.parts]
            parts = tuple(sorted(chosen.tolist()))
        steps = self.options.distance * self.moves
        return Query(np.concatenate([self.point + steps, self.point - steps]), parts=parts)

    def gradient_of(self, answer: Answer) -> FloatArray:
        """(L(e + c d) - L(e - c d)) / 2c times 1 / d, summed over the directions d."""
        ahead, behind = np.split(answer.values, 2)
        with np.errstate(invalid="ignore"):  # of two infinite losses the difference is not known: NaN
            slopes = (ahead - behind) / (2 * self.options.distance)
        inverse = np.divide(1.0, self.moves, out=np.zeros_like(self.moves), where=self.moves != 0)
        gradient: FloatArray = slopes @ inverse
        return gradient

    def draw(self) -> FloatArray:
        """Directions of the next step, float64 (count, dimension)."""
        return self.generator.choice([-1.0, 1.0], (1, self.space.dimension))


@dataclass
class FiniteDifferences(SPSA):
    """Central differences along some coordinates at a time; all of them where there are few."""

    SPACE: ClassVar[dict[str, Any]] = {"scales": "all", "tie": True}

    def draw(self) -> FloatArray:
        """Unit vectors of coordinates drawn without replacement."""
        count = min(self.options.directions, self.space.dimension)
        chosen = self.generator.permutation(self.space.dimension)[:count]
        return np.eye(self.space.dimension)[chosen]
