"""The page: data of all runs, and the program that shows them, in one file."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from landscape.errors import UserError
from landscape.plots.runs import Run
from landscape.plots.sources import Record, Table, only_runs, open_source
from landscape.plots.studies import Study
from landscape.plots.titles import search_title, surface_subtitle, surface_title
from landscape.progress import Progress, silent
from landscape.report.refinement import refinement
from landscape.report.run_data import empty_data, run_data, words
from landscape.report.search_data import search_data
from landscape.report.study_data import studies_in, study_data
from landscape.report.surface_data import overview, surface_data


@dataclass(frozen=True)
class ReportOptions:
    """What a report says.

    Attributes:
        title: Above the page; by default the name of the run, or the number of runs.
        level: Coverage of intervals.
        draws: Resamples behind the intervals and floors of roughness; 0 leaves the roughness out.
    """

    title: str | None = None
    level: float = 0.95
    draws: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"--level {self.level:g} is no coverage; give a number between 0 and 1, such as 0.95")
        if self.draws < 0:
            raise UserError(f"--draws {self.draws} is negative; give a number of resamples, or 0 for no roughness")


def build_report(
    runs: Sequence[str | Path], options: ReportOptions | None = None, command: str = "", progress: Progress = silent
) -> str:
    """The page as HTML.

    Args:
        runs: Folders of scans and searches, finished or not, with the studies in them; files of studies and records.
        options: What it says.
        command: The command line that made it, for the page to show.
        progress: Who is told; it counts runs.

    Raises:
        UserError: There is no run, or one cannot be read.
    """
    options = options or ReportOptions()
    if not runs:
        raise UserError("no run is given; give folders of runs")
    opened = [open_source(place) for place in runs]
    scans = [run for run in only_runs(opened) if run.is_scan]
    entries = []
    with progress("report", len(opened)) as advance:
        for run in opened:
            entries.append(_entry(run, scans, options) if isinstance(run, Run) else _study_entry(run))
            advance(1)
    title = options.title or (opened[0].name if len(opened) == 1 else f"{len(opened)} runs")
    data = {
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("evolq-landscape"),
        "command": command,
        "runs": entries,
    }
    return _fill(title, data)


def save_report(
    runs: Sequence[str | Path],
    out: str | Path,
    options: ReportOptions | None = None,
    command: str = "",
    progress: Progress = silent,
) -> Path:
    """Write the page of `build_report` to a file.

    Raises:
        UserError: For the reasons of `build_report`, or the file cannot be written.
    """
    path = Path(out)
    if path.is_dir():
        raise UserError(f"--out {out} is a folder; give a file, such as {path / 'report.html'}")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise UserError(f"--out {out}: {parent} is a file, expected a folder; choose another --out")
    page = build_report(runs, options, command, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
    return path


def _entry(run: Run, scans: Sequence[Run], options: ReportOptions) -> dict[str, Any]:
    entry: dict[str, Any] = {**run_data(run), "surface": None, "search": None, "overview": {}}
    entry["refinement"] = None
    entry["kind"] = str(run.settings.get("kind", ""))
    entry["model"], entry["bits"] = (str(run.settings.get(key) or "") for key in ("model", "bits"))
    entry["title"], entry["subtitle"] = search_title([run]), ""
    if run.is_scan:
        surface = run.surface
        entry["title"], entry["subtitle"] = surface_title(surface), surface_subtitle(surface)
        entry["surface"] = surface_data(surface, options.level, options.draws)
        entry["overview"] = overview(surface, entry["surface"])
        entry["refinement"] = refinement(run)
    if run.has_trajectories:
        entry["search"] = search_data(run, scans)
    entry["studies"] = [study_data(study) for study in studies_in(run.folder)]
    return entry


def _study_entry(source: Study | Record | Table) -> dict[str, Any]:
    """A file of a study, a record or a table, as a run of its own."""
    found = study_data(source)
    settings, study = dict(source.settings), source.settings.get("study")
    shown = {**{k: v for k, v in settings.items() if k != "study"}, **(study if isinstance(study, dict) else {})}
    return {
        **empty_data(source.name),
        "settings": [[name, words(value)] for name, value in sorted(shown.items()) if value is not None],
        "kind": "study",
        "model": str(settings.get("model") or ""),
        "bits": str(settings.get("bits") or ""),
        "title": found["title"] or source.name,
        "subtitle": found["subtitle"],
        "surface": None,
        "search": None,
        "overview": {},
        "refinement": None,
        "studies": [{**found, "title": "", "subtitle": ""}],
    }


def _fill(title: str, data: dict[str, Any]) -> str:
    """The template with everything in its place; no text of a user can end a script or begin a tag."""
    parts = files("landscape.report") / "page"
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    places = {
        "title": html.escape(title),
        "style": _part(parts, "report.css"),
        "plotly": get_plotlyjs(),
        "data": text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
        "script": "\n".join(_part(parts, f"{name}.js") for name in ("tables", "data", "surface", "report")),
    }
    page = _part(parts, "report.html")
    for name, content in places.items():
        before, mark, after = page.partition(f"<!--{name}-->")
        assert mark, name
        page = before + content + after
    return page


def _part(folder: Any, name: str) -> str:
    text: str = (folder / name).read_text(encoding="utf-8")
    return text
