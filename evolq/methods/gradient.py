"""Gradient descent on the relative coordinates: SGD, Adam and AdamW with a straight-through or other estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.optimizer import Answer, Needs, Optimizer, Query
from evolq.space import FloatArray
from landscape.errors import UserError
from landscape.gradient import ESTIMATORS


@dataclass(frozen=True)
class GradientOptions:
    """Settings of a gradient method.

    Attributes:
        estimator: straight-through (LSQ), frozen-weights or almost-everywhere; see `landscape.gradient`.
        batch: Images of each gradient, drawn anew for every step.
        rates: Learning rates that are tried, with spaces between them: root mean square of the first step.
        trial: Steps with each rate before the best is chosen by the loss on all search images; with one rate there is
            no trial. What the trials cost is part of the budget, and the run goes on from the best of them.
        check: Steps between two measurements on all search images, which alone decide what the run ends with.
        momentum: Of SGD.
        beta1: Of Adam: decay of the mean gradient.
        beta2: Of Adam: decay of the mean squared gradient.
        decay: Of AdamW: weight decay, which here pulls towards the start.
    """

    estimator: str = "straight-through"
    batch: int = 50
    rates: str = "0.001 0.003 0.01"
    trial: int = 20
    check: int = 20
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.99
    decay: float = 0.1

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise UserError(f"estimator {self.estimator!r} is unknown; give one of {', '.join(ESTIMATORS)}")
        if self.batch < 1 or self.trial < 1 or self.check < 1:
            raise UserError("batch, trial and check of a gradient method must be at least 1")
        self.learning_rates()

    def learning_rates(self) -> list[float]:
        """The rates as numbers.

        Raises:
            UserError: One is not a positive number.
        """
        try:
            rates = [float(rate) for rate in self.rates.split()]
        except ValueError:
            rates = []
        if not rates or not all(rate > 0 for rate in rates):
            raise UserError(f"rates {self.rates!r} must be positive numbers with spaces between, such as '0.001 0.01'")
        return rates


@dataclass
class GradientMethod(Optimizer):
    """Base class: trials of a few learning rates from the start, then descent from the best with a cosine schedule.

    A step asks for one estimate of the gradient, by default the problem's on a random batch of search images. One that
    is not finite is left out.
    """

    needs: ClassVar[Needs] = "gradient"
    Options: ClassVar[type[Any]] = GradientOptions
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights"}
    STATE: ClassVar[tuple[str, ...]] = (
        "point", "rate", "step", "memory", "trials", "waiting", "checking", "scale",
    )  # fmt: skip

    def start(self) -> None:
        """The first trial, at the start."""
        self.waiting = list(self.options.learning_rates())
        self.trials: list[dict[str, Any]] = []
        self.checking = False
        self._restart()

    def _restart(self) -> None:
        """A trial with the next rate."""
        self.rate = self.waiting.pop(0)
        self.point = np.zeros(self.space.dimension)
        self.memory = self._fresh_memory()
        self.step, self.scale = 0, 0.0

    @property
    def _searching(self) -> bool:
        """Whether rates are still being tried."""
        return len(self.trials) < len(self.options.learning_rates()) and len(self.options.learning_rates()) > 1

    def ask(self) -> Query:
        """A gradient at the current point, or its value on all search images."""
        return Query(self.point[None].copy()) if self.checking else self.gradient_query()

    def tell(self, answer: Answer) -> list[bool]:
        """Take a step; or note what the point is worth."""
        if self.checking:
            self.checking = False
            if self._searching:
                self._end_trial(float(answer.values[0]))
            return [True]
        gradient = self.gradient_of(answer)
        if np.isfinite(gradient).all():
            self.point = self.point - self._factor() * self.update(gradient)
        self.step += 1
        period = self.options.trial if self._searching else self.options.check
        self.checking = self.step % period == 0
        return [True] * len(answer.values)

    def _end_trial(self, value: float) -> None:
        state = {"value": value, "point": self.point, "memory": self.memory, "rate": self.rate, "scale": self.scale}
        self.trials.append(state)
        if self.waiting:
            self._restart()
            return
        values = [np.inf if np.isnan(trial["value"]) else trial["value"] for trial in self.trials]
        best = self.trials[int(np.argmin(values))]
        self.point, self.memory = best["point"].copy(), {k: v.copy() for k, v in best["memory"].items()}
        self.rate, self.scale, self.step = best["rate"], best["scale"], self.options.trial

    def _factor(self) -> float:
        """Learning rate of this step: constant in a trial, then along half a cosine to zero when the budget ends."""
        if self._searching or self.budget <= 0:
            return float(self.rate)
        return float(self.rate * 0.5 * (1.0 + np.cos(np.pi * min(1.0, self.spent / self.budget))))

    def gradient_query(self) -> Query:
        """What an estimate of the gradient needs."""
        count = min(self.options.batch, self.space.images)
        images = np.sort(self.generator.permutation(self.space.images)[:count])
        return Query(self.point[None].copy(), gradient=self.options.estimator, images=tuple(images.tolist()))

    def gradient_of(self, answer: Answer) -> FloatArray:
        """The estimate, float64 (dimension,)."""
        assert answer.gradients is not None
        gradient: FloatArray = answer.gradients[0]
        return gradient

    def update(self, gradient: FloatArray) -> FloatArray:
        """What, times the learning rate, is taken off the point."""
        raise NotImplementedError

    def _fresh_memory(self) -> dict[str, FloatArray]:
        return {}


@dataclass
class SGD(GradientMethod):
    """Gradient descent with momentum, in units of the first gradient's root mean square."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        name: {"options": {"estimator": name}} for name in ("straight-through", "almost-everywhere")
    }

    def _fresh_memory(self) -> dict[str, FloatArray]:
        return {"momentum": np.zeros(self.space.dimension)}

    def update(self, gradient: FloatArray) -> FloatArray:
        """See `GradientMethod`."""
        if self.scale == 0.0:
            self.scale = float(np.sqrt(np.mean(gradient**2)))
        if self.scale == 0.0:
            return np.zeros_like(gradient)
        self.memory["momentum"] = self.options.momentum * self.memory["momentum"] + gradient / self.scale
        return self.memory["momentum"]


@dataclass
class Adam(GradientMethod):
    """Adam (Kingma, Ba 2015, arXiv 1412.6980)."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = SGD.PRESETS

    def _fresh_memory(self) -> dict[str, FloatArray]:
        return {"mean": np.zeros(self.space.dimension), "square": np.zeros(self.space.dimension), "count": np.zeros(1)}

    def update(self, gradient: FloatArray) -> FloatArray:
        """See `GradientMethod`."""
        memory, beta1, beta2 = self.memory, self.options.beta1, self.options.beta2
        memory["count"] += 1
        memory["mean"] = beta1 * memory["mean"] + (1 - beta1) * gradient
        memory["square"] = beta2 * memory["square"] + (1 - beta2) * gradient**2
        mean = memory["mean"] / (1 - beta1 ** memory["count"])
        square = memory["square"] / (1 - beta2 ** memory["count"])
        direction: FloatArray = mean / (np.sqrt(square) + 1e-12)
        return direction


@dataclass
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019, arXiv 1711.05101) towards the start."""

    def update(self, gradient: FloatArray) -> FloatArray:
        """See `GradientMethod`."""
        direction: FloatArray = super().update(gradient) + self.options.decay * self.point
        return direction
