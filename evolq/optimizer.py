"""What an optimizer is: it asks for the values of points, and is told them.

All optimizers walk in relative coordinates e, float64 (dimension,), with the start at zero: a scale is s = s0 exp(e),
a zero point is the integer nearest z0 + e. So 0.01 means one percent for every scale, and no scale turns negative.

A minimal optimizer, and all that a file for ``--method path/to/file.py:Mine`` needs::

    class Mine(Optimizer):
        def ask(self):
            return Query(self.generator.normal(0.0, 0.01, (1, self.space.dimension)))

        def tell(self, answer):
            return [False]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from evolq.space import SpaceInfo
from evolq.state import generator_state, restore_generator
from landscape.errors import UserError

FloatArray = npt.NDArray[np.float64]
Needs = Literal["values", "gradient", "curvature"]


@dataclass(frozen=True)
class Query:
    """Points whose values an optimizer wants.

    Attributes:
        points: Relative coordinates, float64 (n, dimension). With none nothing is measured: what was done within
            `ask` is counted and stored, and the optimizer is told, and asked again.
        group: Index of the group of parameters in which these points differ from one another and from the last query of
            the same group; None if it is not one. It lets the part before that group be computed once; no influence on
            any value.
        parts: Measure on these parts of the search images only; None measures on all.
        gradient: Wants the gradient too, by this estimator; see `landscape.gradient.ESTIMATORS`.
        images: With `gradient`: indices of the images; None takes all.
    """

    points: FloatArray
    group: int | None = None
    parts: tuple[int, ...] | None = None
    gradient: str | None = None
    images: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """What an optimizer is told.

    Attributes:
        query: As it was asked.
        values: The loss of each point, float64 (n,); NaN where it is NaN.
        part_values: The same for each measured part of the search images, float64 (n, parts); their mean, weighted with
            the parts' sizes, is the value. None with a gradient.
        gradients: dL/de, float64 (n, dimension), if it was asked for.
        cost: What the answer cost, in images through the full network.
    """

    query: Query
    values: FloatArray
    part_values: FloatArray | None = None
    gradients: FloatArray | None = None
    cost: int = 0


@dataclass(frozen=True)
class NoOptions:
    """An optimizer without settings."""


@dataclass
class Optimizer:
    """Base class of all optimizers.

    A subclass gives `ask` and `tell`, and names in `STATE` the attributes that its further course depends on; the
    generator is kept anyway. `Options` is a dataclass of settings, `PRESETS` named settings.

    Attributes:
        space: Dimension, groups and centre of the search space.
        options: Settings.
        seed: Of `generator`, the only source of randomness.
        budget: Images that may be spent in all; for schedules.
        spent: Images spent so far; kept up to date by the driver.
    """

    needs: ClassVar[Needs] = "values"
    STATE: ClassVar[tuple[str, ...]] = ()
    STATIC: ClassVar[tuple[str, ...]] = ()
    """Attributes that `bind` sets and nothing changes afterwards: kept once, not with every step."""
    Options: ClassVar[type[Any]] = NoOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    SPACE: ClassVar[dict[str, Any]] = {}
    """Defaults of `landscape optimize` for which parameters move; see `evolq.space.SpaceOptions`."""

    space: SpaceInfo
    options: Any = field(default_factory=NoOptions)
    seed: int = 0
    budget: int = 0

    def __post_init__(self) -> None:
        """Make the generator and whatever `start` makes."""
        self.generator = np.random.default_rng([self.seed, 0x65766F])
        self.spent = 0
        self.start()

    @classmethod
    def create(
        cls, space: SpaceInfo, preset: str | None = None, seed: int = 0, budget: int = 0, **settings: Any
    ) -> Self:
        """An optimizer with the settings of a preset, some of them replaced.

        Raises:
            UserError: There is no such preset or setting.
        """
        return cls(space, cls.make_options(preset, settings), seed, budget)

    @classmethod
    def make_options(cls, preset: str | None, settings: dict[str, Any]) -> Any:
        """The settings of a preset, some of them replaced.

        Raises:
            UserError: There is no such preset or setting, or a setting cannot be used.
        """
        if preset is not None and preset not in cls.PRESETS:
            known = ", ".join(cls.PRESETS) or "none"
            raise UserError(f"{cls.__name__} has no preset {preset!r}; it has {known}")
        names = {entry.name for entry in fields(cls.Options)}
        unknown = sorted(set(settings) - names)
        if unknown:
            raise UserError(
                f"{cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(names)) or 'none'}"
            )
        chosen = {} if preset is None else cls.PRESETS[preset].get("options", {})
        return cls.Options(**{**chosen, **settings})

    def start(self) -> None:
        """Set the attributes that the course begins with."""

    def bind(self, problem: Any) -> None:
        """Take what is needed besides values; called once before the first `ask`, not when a run is resumed.

        Only for `needs` = ``curvature``: what is taken must be kept in `STATE` or `STATIC`. What it costs is counted.
        """

    def attach(self, problem: Any) -> None:
        """Take hold of the problem, for what only it can answer while the optimizer runs.

        Called before `bind`, and again when a run is resumed. What is asked of it in `ask` is counted.
        """

    def know(self, start: Answer) -> None:
        """Learn what the start is worth, which costs nothing; called once, before the first `ask`."""

    def ask(self) -> Query | None:
        """The points wanted next; None when the optimizer has nothing more to do."""
        raise NotImplementedError

    def tell(self, answer: Answer) -> Sequence[bool]:
        """Learn what the points of the last query are worth.

        Returns:
            For each point whether the optimizer goes on from it.
        """
        raise NotImplementedError

    def result(self) -> FloatArray | None:
        """The point that the method ends with; None for the best of all that were measured on all search images."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """All that the further course depends on, as plain data and numpy arrays."""
        return {
            "generator": generator_state(self.generator),
            **{name: getattr(self, name) for name in self.STATE},
        }

    def static_dict(self) -> dict[str, Any]:
        """What `bind` has set for good."""
        return {name: getattr(self, name) for name in self.STATIC}

    def load_static_dict(self, static: dict[str, Any]) -> None:
        """Take what `static_dict` gave."""
        for name in self.STATIC:
            setattr(self, name, static[name])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, bit for bit."""
        self.generator = restore_generator(state["generator"])
        for name in self.STATE:
            setattr(self, name, state[name])
