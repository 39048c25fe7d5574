"""``landscape reliability``: how far gradients over scales can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from landscape.cli.curvature import RecordOptions, tell, with_loss
from landscape.cli.options import EngineOptions, progress_bar
from landscape.cli.runs import aligned, check_file, say
from landscape.engine import choose_engine
from landscape.errors import UserError
from landscape.reliability import ReliabilityOptions, ReliabilityReport, reliability_study
from landscape.setup import ProblemOptions, build, gather, on_images, search_images


@dataclass(frozen=True)
class GradientImages:
    """The images that gradients are of.

    Attributes:
        search_images: How many, drawn from the calibration images' folder; `--images` counts the test images.
    """

    search_images: int = 100

    def __post_init__(self) -> None:
        if self.search_images < 1:
            raise UserError(f"--search-images {self.search_images} is not possible; give at least 1")


def reliability(
    problem: ProblemOptions,
    study: ReliabilityOptions,
    gradients: GradientImages,
    engine: EngineOptions,
    record: RecordOptions,
) -> None:
    """Compare gradient estimates with real changes of the loss, and follow them downhill on search and test images."""
    if record.out is not None:
        check_file(Path(record.out))
    _, words = choose_engine(engine.engine, engine.device)
    ingredients = gather(with_loss(problem, study.loss))
    images = search_images(ingredients, gradients.search_images)
    say(f"gradients of {study.loss} on {len(images)} images, {len(ingredients.images)} test images, {words}")
    progress = progress_bar()
    test = build(ingredients, **vars(engine), progress=progress)
    search = on_images(test, ingredients, images, progress=progress)
    tell(reliability_study(search, test, study, progress), record, reliability_lines)


reliability.option_defaults = {"images": 100}  # type: ignore[attr-defined]


def reliability_lines(report: ReliabilityReport) -> list[str]:
    """The study as tables of text."""
    header = ["at", "estimate", "step", "cosine", "95 %", "same sign", "halves", "codes flipped"]
    rows = [header]
    zero = list(dict.fromkeys(each.estimator for each in report.agreements if each.ratio == 0))
    for each in report.agreements:
        if each.ratio == 0:
            continue
        interval = "-" if math.isnan(each.cosine) else f"{each.low:.2f} .. {each.high:.2f}"
        numbers = (_number(each.cosine), interval, _percent(each.signs), _number(each.replication))
        rows.append([_at(each.coordinates), each.estimator, f"{each.step:.2g}", *numbers, _percent(each.flipped)])
    falls = [["at", "against", "images", "best step", "change there", "rises from"]]
    for fall in report.descents:
        rises = "-" if fall.falls_until is None else f"{fall.falls_until:.2g}"
        ends = (f"{fall.best_step:.2g}", f"{fall.best_change:.2g}", rises)
        falls.append([_at(fall.coordinates), fall.estimator, fall.images, *ends])
    lines = [*aligned(rows)]
    if zero:
        lines.append(f"zero, so without direction: {', '.join(zero)}")
    lines += ["", *aligned(falls), ""]
    for flip in report.flips:
        lines.append(
            f"{flip.direction}: the first of {flip.weights} weight codes flips at {flip.nearest:.2g}, "
            f"1 % have flipped by {flip.quantiles.get('0.01', math.nan):.2g}"
        )
    for name, value in ((name, value) for name, value in report.replications.items() if not math.isnan(value)):
        lines.append(f"{name}: cosine of the gradients of two halves of the images {_number(value)}")
    return lines


def _at(coordinates: tuple[float, ...]) -> str:
    return ", ".join(f"{coordinate:.3g}" for coordinate in coordinates)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
