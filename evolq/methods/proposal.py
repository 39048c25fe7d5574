"""Methods without a search: they work out a point from the network and its images, and that is what they end with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.objective import NetworkObjective
from evolq.optimizer import Answer, Needs, Optimizer, Query
from evolq.space import FloatArray
from landscape.errors import UserError


@dataclass
class Proposal(Optimizer):
    """Base class: `propose` gives one point, which is measured once, for the record, if the budget lasts."""

    needs: ClassVar[Needs] = "curvature"
    STATE: ClassVar[tuple[str, ...]] = ("proposal", "asked")
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights", "zero_points": True}

    def start(self) -> None:
        """Nothing is proposed yet."""
        self.proposal: FloatArray | None = None
        self.asked = False

    def bind(self, problem: Any) -> None:
        """Work the point out.

        Raises:
            UserError: The problem is no quantized network, or its channels are tied.
        """
        name = type(self).__name__
        if not isinstance(problem, NetworkObjective):
            raise UserError(f"{name} needs a quantized network; choose a method that needs values only")
        if sum(problem.space.part_sizes) != sum(
            problem.problem.network.scale(part.removesuffix(".zero_point")).numel() for part in problem.space.part_names
        ):
            raise UserError(f"{name} chooses scales channel by channel; use --no-tie")
        self.proposal = self.propose(problem)

    def propose(self, problem: NetworkObjective) -> FloatArray | None:
        """The point; None where the budget does not pay for it. Adds what it costs to ``problem.spent``."""
        raise NotImplementedError

    def affordable(self, images: int, cost: int) -> int:
        """How many of some images the budget pays for at `cost` each, beside one measurement of the result."""
        return max(0, min(images, (self.budget - self.space.images) // cost))

    def ask(self) -> Query | None:
        """The point, once."""
        if self.proposal is None or self.asked:
            return None
        return Query(self.proposal[None].copy())

    def tell(self, answer: Answer) -> list[bool]:
        """Nothing depends on it."""
        self.asked = True
        return [True]

    def result(self) -> FloatArray:
        """The point, whatever it is worth; the start if there was no budget for it."""
        return np.zeros(self.space.dimension) if self.proposal is None else self.proposal


def layers_of(problem: NetworkObjective) -> list[str]:
    """Layers whose weight scales move.

    Raises:
        UserError: There are none.
    """
    layers = [name.removesuffix(".weight") for name in problem.space.names if name.endswith(".weight")]
    if not layers:
        raise UserError("this method chooses weight scales, and none of them moves; use --scales weights")
    return layers
