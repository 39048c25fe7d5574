"""What pictures are drawn of: run folders, and the files of studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from landscape.errors import UserError
from landscape.plots.runs import Run
from landscape.plots.studies import Study
from landscape.trajectory import Trajectory

Source = Run | Study
Report = TypeVar("Report")


def open_source(path: str | Path) -> Source:
    """The run in a folder, or the study in a file.

    Raises:
        UserError: There is neither.
    """
    return Study(path) if Path(path).is_file() else Run(path)


def only_runs(sources: Sequence[Source]) -> list[Run]:
    """Those that are run folders."""
    return [source for source in sources if isinstance(source, Run)]


def first_report(sources: Sequence[Source], kind: type[Report], picture: str, command: str) -> Report:
    """The first record of a study of that kind.

    Raises:
        UserError: There is none.
    """
    for source in sources:
        if isinstance(source, Study) and isinstance(source.report, kind):
            return source.report
    raise UserError(
        f"--kind {picture} needs the record of a study, and {_named(sources)} is none; "
        f"give the file of `landscape {command} --out FILE`"
    )


def first_scan(runs: Sequence[Source], kind: str) -> Run:
    """The first run that holds a surface.

    Raises:
        UserError: There is none.
    """
    for run in only_runs(runs):
        if run.is_scan:
            return run
    raise UserError(f"--kind {kind} needs a scan, and {_named(runs)} is none; give the folder of `landscape scan`")


def all_trajectories(runs: Sequence[Source], kind: str) -> list[Trajectory]:
    """The trajectories of all run folders.

    Raises:
        UserError: There are none.
    """
    found = [trajectory for run in only_runs(runs) if run.has_trajectories for trajectory in run.trajectories]
    if not found:
        raise UserError(
            f"--kind {kind} needs trajectories, and {_named(runs)} has none; give the folder of `landscape optimize`"
        )
    return found


def _named(runs: Sequence[Source]) -> str:
    return ", ".join(str(run.folder) for run in runs) or "no run"
