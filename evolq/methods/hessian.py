"""Hessian baselines: weight scales of least estimated loss increase, by curvature of the float network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from evolq.layerwise import METRICS, PASS_COST, Grid, choose_all, collect
from evolq.methods.proposal import Proposal, layers_of
from evolq.objective import NetworkObjective
from evolq.space import FloatArray
from landscape.errors import UserError


@dataclass(frozen=True)
class HessianOptions:
    """Settings of the second-order choice.

    Attributes:
        metric: What of the Gauss-Newton matrix is kept: diagonal, inputs, tokens or outputs; see `evolq.layerwise`.
        images: Search images that it is estimated on.
        smallest: Smallest factor of a scale that is tried.
        largest: Largest.
        steps: Factors between them.
        zero_points: Largest shift of a zero point, where zero points move.
    """

    metric: str = "diagonal"
    images: int = 200
    smallest: float = 0.55
    largest: float = 1.45
    steps: int = 25
    zero_points: int = 2

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"metric {self.metric!r} is unknown; give one of {', '.join(METRICS)}")
        if self.images < 1 or self.steps < 2 or not 0 < self.smallest < self.largest or self.zero_points < 0:
            raise UserError("a Hessian method needs images >= 1, steps >= 2, 0 < smallest < largest, zero_points >= 0")

    def grid(self, zero_points: bool) -> Grid:
        """What is tried for each channel."""
        return Grid(self.smallest, self.largest, self.steps, self.zero_points if zero_points else 0)


@dataclass
class Hessian(Proposal):
    """For each output channel the scale (and zero point) of least dw^T H dw; channels do not interact.

    H is the Gauss-Newton matrix of the float network's cross-entropy, or what `metric` keeps of it.
    """

    Options: ClassVar[type[Any]] = HessianOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        metric: {"options": {"metric": metric}} for metric in ("diagonal", "inputs", "tokens")
    }

    def propose(self, problem: NetworkObjective) -> FloatArray | None:
        """See `Proposal`."""
        options = self.options
        cost = PASS_COST[options.metric]
        count = self.affordable(min(options.images, len(problem.problem.images)), cost)
        if count == 0:
            return None
        network, images = problem.problem.network, problem.problem.images.select(range(count))
        metrics = collect(network, images, options.metric, layers_of(problem), self.seed)
        problem.spent += count * cost
        choices = choose_all(network, metrics, options.grid(bool(self.space.integer.any())))
        scales = {f"{layer}.weight": choice.scale[0] for layer, choice in choices.items()}
        zero_points = {f"{layer}.weight": choice.zero_point[0] for layer, choice in choices.items()}
        return problem.space.point(scales, zero_points)


@dataclass(frozen=True)
class PTQ4ViTOptions(HessianOptions):
    """Settings of `PTQ4ViT`.

    Attributes:
        metric: The output-weighted metric.
        images: Search images that it is estimated on; 32 in the paper.
    """

    metric: str = "outputs"
    images: int = 32
    steps: int = 13


@dataclass
class PTQ4ViT(Hessian):
    """PTQ4ViT's Hessian-guided metric on weight scales: squared output error weighted with squared output gradients."""

    Options: ClassVar[type[Any]] = PTQ4ViTOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
