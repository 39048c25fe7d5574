"""How far gradients can be trusted: agreement with real changes by step, and steps downhill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.words import ValueText, value_text
from landscape.plots.titles import study_subtitle, study_title
from landscape.reliability.records import Agreement, Descent, ReliabilityReport


@dataclass(frozen=True, eq=False)
class AgreementCurve:
    """One estimate at the centre, by step of the finite differences. All arrays of shape (steps,).

    Attributes:
        estimator: Name of the estimate.
        step: Ascending, in units of the coordinate.
        cosine: With the finite differences; NaN where the estimate is zero.
        low: Lower ends of the intervals.
        high: Upper ends.
        signs: Share of directions with the same sign.
    """

    estimator: str
    step: FloatArray
    cosine: FloatArray
    low: FloatArray
    high: FloatArray
    signs: FloatArray

    @property
    def is_zero(self) -> bool:
        """Whether the estimate vanishes, so that it points nowhere."""
        return bool(np.isnan(self.cosine).all())


@dataclass(frozen=True, eq=False)
class ReliabilityInfo:
    """Gradient reliability at the centre.

    Attributes:
        title: Network and what is moved.
        subtitle: Loss and images.
        step_label: Label of steps.
        text: Of the loss.
        curves: Agreement of each estimate.
        replication_step: Steps of `replication`, shape (steps,).
        replication: Cosine of the finite differences of two halves of the images: no estimate can be expected to agree
            better than these do with one another.
        flipped: Share of codes flipped at those steps, in percent.
        descents: Steps against each gradient, on each set of images.
        nearest_flip: Distance to the first code flip along a random direction; NaN if unknown.
    """

    title: str
    subtitle: str
    step_label: str
    text: ValueText
    curves: tuple[AgreementCurve, ...]
    replication_step: FloatArray
    replication: FloatArray
    flipped: FloatArray
    descents: tuple[Descent, ...]
    nearest_flip: float


def reliability_info(report: ReliabilityReport) -> ReliabilityInfo:
    """Collect what a study of gradients found at the centre.

    Raises:
        UserError: It measured nothing there.
    """
    at_centre = [each for each in report.agreements if not any(each.coordinates)]
    if not at_centre:
        raise UserError("this study measured no gradient at the centre; run `landscape reliability` again")
    names = list(dict.fromkeys(each.estimator for each in at_centre))
    curves = []
    for name in names:
        own = sorted((each for each in at_centre if each.estimator == name), key=lambda each: each.step)
        columns = [np.array([getattr(each, key) for each in own], dtype=np.float64) for key in _COLUMNS]
        curves.append(AgreementCurve(name, *columns))
    first = sorted((each for each in at_centre if each.estimator == names[0]), key=lambda each: each.step)
    descents = tuple(each for each in report.descents if not any(each.coordinates))
    loss = descents[0].loss if descents else str(report.settings.get("study", {}).get("loss", "infonce"))
    text = value_text(loss)
    random = [flip.nearest for flip in report.flips if flip.direction == "random"]
    return ReliabilityInfo(
        title=study_title(report.settings),
        subtitle=study_subtitle(report.settings, _about(report, at_centre, text)),
        step_label="step (relative change of the scales, RMS)",
        text=text,
        curves=tuple(curves),
        replication_step=np.array([each.step for each in first]),
        replication=np.array([each.replication for each in first]),
        flipped=100 * np.array([each.flipped for each in first]),
        descents=descents,
        nearest_flip=float(random[0]) if random else float("nan"),
    )


def _about(report: ReliabilityReport, at_centre: Sequence[Agreement], text: ValueText) -> str:
    images = report.settings.get("images")
    on = f" on {images:,} images" if isinstance(images, int) else ""
    return f"gradients of {text.short}{on}, at the calibrated scales, {at_centre[0].directions} random directions"


_COLUMNS = ("step", "cosine", "low", "high", "signs")
