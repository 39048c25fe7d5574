"""What a study of gradient reliability finds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Agreement:
    """Agreement of a gradient estimate with finite differences of the real loss, at one point and one step.

    Both are compared through their slopes along the same random directions, with independent normal components: the
    cosine of the two vectors of slopes estimates the cosine of the two gradients.

    Attributes:
        coordinates: Of the point, on the line or plane.
        estimator: Name of the gradient estimate.
        step: Of the finite difference, in units of the coordinate.
        cosine: -1 to 1; NaN where the estimate is zero, or all differences are.
        low: Lower end of its 95 % interval, a bootstrap over the directions.
        high: Upper end.
        signs: Share of directions in which both slopes have the same sign, 0 to 1; a half is chance.
        replication: Cosine of the finite differences of two disjoint halves of the images: how much of them is no
            property of the sample.
        ratio: RMS slope of the estimate over RMS slope of the finite difference; 0 where the estimate is zero, NaN
            where all differences are.
        flipped: Share of the weight codes that differ between the two ends of the difference, mean over directions.
        directions: How many.
    """

    coordinates: tuple[float, ...]
    estimator: str
    step: float
    cosine: float
    low: float
    high: float
    signs: float
    replication: float
    ratio: float
    flipped: float
    directions: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Descent:
    """The loss along a step against a gradient: s exp(-t g / rms(g)), g in relative coordinates.

    Attributes:
        coordinates: Of the point where it starts.
        estimator: Name of the gradient estimate; ``random`` for a random direction.
        images: ``calibration`` (those that the gradient is of) or ``test``.
        loss: Name of the loss.
        steps: t, ascending, in units of the coordinate (0.01 moves the scales by about 1 %).
        change: Loss there minus loss at the start.
        low: Lower end of its 95 % bootstrap interval over images.
        high: Upper end.
        predicted: Change that the gradient predicts, -t rms(g) * dimension; NaN for a random direction.
        falls_until: The first step with a loss above the start's; None if there is none.
        best_step: The step of the lowest loss, 0.0 if none is below the start.
        best_change: The change there.
        flipped: Share of weight codes flipped at each step.
    """

    coordinates: tuple[float, ...]
    estimator: str
    images: str
    loss: str
    steps: tuple[float, ...]
    change: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    predicted: tuple[float, ...]
    falls_until: float | None
    best_step: float
    best_change: float
    flipped: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class FlipDistance:
    """How far a point can move along a direction before weight codes flip; exact, weight by weight.

    Attributes:
        direction: ``random``, ``gradient``, ``channel``.
        weights: How many weights there are.
        nearest: Distance to the first flip of any weight, in units of the coordinate.
        quantiles: Share of weights -> distance to within which that share has flipped for the first time; infinity
            where fewer ever flip along this direction.
        spacing: Mean distance between consecutive first flips, over the nearest hundredth of the weights.
    """

    direction: str
    weights: int
    nearest: float
    quantiles: Mapping[str, float]
    spacing: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ReliabilityReport:
    """All of a study.

    Attributes:
        settings: Of the problem and the study.
        agreements: One for each point, estimator and step.
        descents: One for each point, estimator and set of images.
        flips: One for each kind of direction.
        replications: Name of an estimator -> cosine of its gradients of two disjoint halves of the images.
    """

    settings: Mapping[str, Any]
    agreements: tuple[Agreement, ...]
    descents: tuple[Descent, ...]
    flips: tuple[FlipDistance, ...]
    replications: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "settings": dict(self.settings),
            "agreements": [each.to_dict() for each in self.agreements],
            "descents": [each.to_dict() for each in self.descents],
            "flips": [each.to_dict() for each in self.flips],
            "replications": dict(self.replications),
        }
