"""CMA-ES and separable CMA-ES in relative coordinates, by the library ``cmaes``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.optimizer import Answer, Optimizer, Query
from landscape.errors import UserError

LARGEST_DENSE = 2000
"""Dimensions of a dense covariance matrix; its decomposition takes the cube of that."""

INTEGER_UNIT = 50.0
"""Codes in one unit of a zero point's internal coordinate: with sigma 0.02 zero points move by about one code."""


@dataclass(frozen=True)
class CMAOptions:
    """Settings of CMA-ES.

    Attributes:
        sigma: First standard deviation of the relative coordinates.
        population: Points in a generation; 0 takes the library's 4 + 3 ln(dimension).
    """

    sigma: float = 0.02
    population: int = 0

    def __post_init__(self) -> None:
        if not self.sigma > 0 or self.population < 0 or self.population == 1:
            raise UserError("CMA-ES needs sigma > 0, and a population of at least 2 (0 for the usual one)")


@dataclass
class CMAES(Optimizer):
    """CMA-ES (Hansen 2016, arXiv 1604.00772). NaN is told as the worst finite value of its generation.

    A space of one dimension is searched with a second coordinate that has no effect: the library's rules need two.
    """

    Options: ClassVar[type[Any]] = CMAOptions
    SPACE: ClassVar[dict[str, Any]] = {"scales": "all", "tie": True}
    separable: ClassVar[bool] = False

    def start(self) -> None:
        """Begin at the start, with the generator's first number as the library's seed."""
        dimension = max(2, self.space.dimension)
        if not self.separable and dimension > LARGEST_DENSE:
            raise UserError(
                f"cmaes has a dense covariance matrix for at most {LARGEST_DENSE} coordinates, here are {dimension}; "
                "use --tie, fewer --scales, or --method sep-cmaes"
            )
        try:
            from cmaes import CMA, SepCMA  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise UserError("cmaes needs the package cmaes; install evolq-landscape[optimizers]") from error
        self.inner: Any = (SepCMA if self.separable else CMA)(
            mean=np.zeros(dimension),
            sigma=self.options.sigma,
            seed=int(self.generator.integers(2**31)),
            population_size=self.options.population or None,
        )
        self.asked = np.zeros((0, dimension))
        self.best = np.inf

    def ask(self) -> Query:
        """A generation."""
        self.asked = np.stack([self.inner.ask() for _ in range(self.inner.population_size)])
        unit = np.where(self.space.integer, INTEGER_UNIT, 1.0)
        return Query(self.asked[:, : self.space.dimension] * unit)

    def tell(self, answer: Answer) -> list[bool]:
        """Adapt mean, step and covariance; the better half is what the next generation comes from."""
        values = answer.values
        finite = values[np.isfinite(values)]
        worst = finite.max() if len(finite) else 0.0
        usable = np.where(np.isfinite(values), values, worst)
        self.inner.tell(list(zip(self.asked, usable.tolist(), strict=True)))
        accepted = np.zeros(len(values), dtype=bool)
        accepted[np.argsort(usable, kind="stable")[: len(values) // 2]] = True
        return [bool(yes) for yes in accepted]

    def state_dict(self) -> dict[str, Any]:
        """The library's own attributes; its generator too, which it drops itself."""
        inner = dict(vars(self.inner))
        generator = inner.pop("_rng").get_state()
        inner = {name: list(value) if isinstance(value, list) else value for name, value in inner.items()}
        return {**super().state_dict(), "inner": inner, "inner_generator": generator}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on bit for bit."""
        super().load_state_dict(state)
        for name, value in state["inner"].items():
            setattr(self.inner, name, _numbered(value))
        self.inner._rng.set_state(state["inner_generator"])


@dataclass
class SepCMAES(CMAES):
    """CMA-ES with a diagonal covariance matrix (Ros, Hansen 2008): for thousands of coordinates."""

    SPACE: ClassVar[dict[str, Any]] = {"scales": "attention"}
    separable: ClassVar[bool] = True


def _numbered(value: Any) -> Any:
    """A number of numpy's, which comes back as an array without axes, as the number that it was."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
