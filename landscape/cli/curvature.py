"""``landscape curvature``: spectrum and trace of the loss's curvature, and how far its quadratic model holds."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape.cli.options import EngineOptions, progress_bar
from landscape.cli.runs import aligned, check_file, plain, say, write_json
from landscape.curvature import CurvatureOptions, CurvatureReport, curvature_study
from landscape.engine import choose_engine
from landscape.errors import UserError
from landscape.losses import loss_names
from landscape.setup import ProblemOptions, build, gather


@dataclass(frozen=True)
class RecordOptions:
    """Where the record of a study goes.

    Attributes:
        out: File to write the whole record to, as JSON.
        json: Print the whole record on standard output, as one JSON object.
    """

    out: str | None = None
    json: bool = False


def curvature(problem: ProblemOptions, study: CurvatureOptions, engine: EngineOptions, record: RecordOptions) -> None:
    """Measure the curvature of the loss over scales and weights, and where its quadratic model predicts the surface."""
    if record.out is not None:
        check_file(Path(record.out))
    _, words = choose_engine(engine.engine, engine.device)
    ingredients = gather(with_loss(problem, study.loss))
    say(f"curvature of {study.loss} on {len(ingredients.images)} images, {words}")
    progress = progress_bar()
    built = build(ingredients, **vars(engine), progress=progress)
    tell(curvature_study(built, study, progress), record, curvature_lines)


curvature.option_defaults = {"images": 100}  # type: ignore[attr-defined]


def curvature_lines(report: CurvatureReport) -> list[str]:
    """The study as tables of text."""
    rows = [["curvature", "largest", "smallest", "trace", "+-", "scales or weights"]]
    for each in report.curvatures:
        ends = (each.largest[0], each.smallest[0], each.trace, each.trace_error)
        name = f"{each.network} network, {each.kind} over {each.over}"
        rows.append([name, *("-" if math.isnan(value) else f"{value:.3g}" for value in ends), str(each.dimension)])
    lines = aligned(rows)
    if report.fits:
        radii = [f"{radius:.2g}" for radius in report.fits[0].radii]
        lines += ["", *aligned([["R^2 within radius", *radii], *([f.model, *map(_score, f.r2)] for f in report.fits)])]
        lines += ["", *aligned([["RMS change at radius", *radii], *_changes(report)])]
        level = report.fits[0].level
        lines += ["", *(f"{f.model}: {_holds(f.holds_from, f.valid_radius, level)}" for f in report.fits)]
    return lines


def _changes(report: CurvatureReport) -> list[list[str]]:
    real = ["real surface", *(f"{value:.2g}" for value in report.fits[0].real_change)]
    return [real, *([fit.model, *(f"{value:.2g}" for value in fit.predicted_change)] for fit in report.fits)]


def _score(value: float) -> str:
    return "< -9" if value < -9 else f"{value:.2f}"


def _holds(first: float | None, last: float | None, level: float) -> str:
    if first is None:
        return f"R^2 reaches {level:g} at no radius"
    return f"R^2 of at least {level:g} at radii from {first:.2g} to {last:.2g}"


def with_loss(problem: ProblemOptions, loss: str) -> ProblemOptions:
    """The options, with a loss among those that are computed."""
    names = loss_names(problem.losses)
    return problem if loss in names else replace(problem, losses=",".join((*names, loss)))


def tell(report: Any, record: RecordOptions, lines: Any) -> None:
    """Write and print a report.

    Raises:
        UserError: The file cannot be written.
    """
    found: Mapping[str, Any] = report.to_dict()
    try:
        if record.out is not None:
            Path(record.out).write_text(json.dumps(plain(found), indent=1, allow_nan=False, default=str) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {record.out}: {error.strerror}; choose another --out") from error
    finally:  # what took long is printed also where it cannot be written
        if record.json:
            write_json(found)
        else:
            print("\n".join(lines(report)))
        sys.stdout.flush()
