"""Studies inside a page: gradients and curvature, tables of roughness, and records of pictures drawn elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.curvature.records import CurvatureReport
from landscape.errors import UserError
from landscape.plots.kinds import KINDS, make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.sources import Record, Source, Table, open_source
from landscape.plots.studies import Study
from landscape.reliability.records import ReliabilityReport
from landscape.report.figures import plain_figure

_TITLES = {
    "spectrum": "Spectrum of the curvature",
    "fit": "How far local models of the loss hold",
    "reliability": "Can gradients be trusted?",
    "roughness": "Jaggedness",
    "trajectories": "Paths",
    "convergence": "Loss against budget",
    "methods": "Ends of all seeds",
}


def studies_in(folder: Path) -> list[Study]:
    """The studies that a run folder holds: files of `landscape curvature` and `landscape reliability`, by name."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            source = open_source(path)
        except UserError:  # another file, which is no matter of the report
            continue
        if isinstance(source, Study):
            found.append(source)
    return found


def study_data(source: Study | Record | Table) -> dict[str, Any]:
    """Pictures (figures of plotly, without size and title) and tables of a study.

    Returns:
        ``name``, ``title`` and ``subtitle``; ``pictures``, each with ``title`` and ``figure``; ``tables``, each with
        ``title``, ``head`` and ``rows``.
    """
    pictures, first = [], None
    for kind in _kinds(source):
        try:
            picture = make_picture([source], PlotOptions(kind=kind))
        except UserError:  # the study did not measure this part
            continue
        first = first or picture.info
        if picture.screen is not None:
            title = _TITLES.get(kind, KINDS[kind].words)
            pictures.append({"title": title, "figure": plain_figure(picture.screen())})
    return {
        "name": source.name,
        "title": "" if first is None else first.title,
        "subtitle": "" if first is None else first.subtitle,
        "pictures": pictures,
        "tables": _tables(source),
    }


def _kinds(source: Source) -> Sequence[str]:
    if isinstance(source, Study):
        return ("fit", "spectrum") if isinstance(source.report, CurvatureReport) else ("reliability",)
    if isinstance(source, Record):
        fitting = [name for name, kind in KINDS.items() if isinstance(source.info, kind.record)]
        return [name for name in fitting if name not in ("vtk", "animation", "contour", "line")][:1]
    return ("roughness",)


def _tables(source: Study | Record | Table) -> list[dict[str, Any]]:
    if not isinstance(source, Study):
        return []
    report = source.report
    found = _of_gradients(report) if isinstance(report, ReliabilityReport) else _of_curvature(report)
    return [table for table in found if table["rows"]]


def _of_gradients(report: ReliabilityReport) -> list[dict[str, Any]]:
    return [
        _table("Agreement with finite differences", _AGREEMENT, report.agreements),
        _table("Steps against each gradient", _DESCENT, report.descents),
    ]


def _of_curvature(report: CurvatureReport) -> list[dict[str, Any]]:
    fits = [
        [fit.model, *numbers]
        for fit in report.fits
        for numbers in zip(fit.radii, fit.r2, fit.low, fit.high, fit.real_change, fit.predicted_change, strict=True)
    ]
    head = ["model", "radius", "R^2", "low", "high", "real change (RMS)", "predicted"]
    return [
        _table("Operators", _OPERATOR, report.curvatures),
        {"title": "Models by radius", "head": head, "rows": [_plain(row) for row in fits]},
    ]


def _table(title: str, columns: Mapping[str, str], records: Sequence[Any]) -> dict[str, Any]:
    rows = [_plain([getattr(each, name) for name in columns.values()]) for each in records]
    return {"title": title, "head": list(columns), "rows": rows}


_AGREEMENT = {
    "at": "coordinates", "estimate": "estimator", "step": "step", "cosine": "cosine", "low": "low", "high": "high",
    "same sign": "signs", "halves": "replication", "codes flipped": "flipped", "directions": "directions",
}  # fmt: skip
_DESCENT = {
    "at": "coordinates", "against": "estimator", "images": "images", "loss": "loss", "best step": "best_step",
    "change there": "best_change", "rises from": "falls_until",
}  # fmt: skip
_OPERATOR = {
    "network": "network", "over": "over", "operator": "kind", "loss": "loss", "images": "images",
    "dimension": "dimension", "largest": "largest", "smallest": "smallest", "trace": "trace", "+-": "trace_error",
}  # fmt: skip
"""Heads of the tables, and what stands below."""


def _plain(row: Sequence[Any]) -> list[Any]:
    """A row for JSON: a place in words, the outermost of several eigenvalues, None for what is no finite number."""
    return [_cell(entry) for entry in row]


def _cell(entry: Any) -> Any:
    if isinstance(entry, tuple):
        if len(entry) > 2:
            return _cell(entry[0])
        return "the centre" if not any(entry) else ", ".join(f"{each:g}" for each in entry)
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry
