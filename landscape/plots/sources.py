"""What pictures are drawn of: run folders, files of studies, tables of roughness, and records written before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from landscape.errors import UserError
from landscape.plots.records import load_record
from landscape.plots.runs import Run
from landscape.plots.studies import Study, read_json
from landscape.trajectory import Trajectory


class Record:
    """The record of a picture in a file.

    Attributes:
        folder: The file.
        info: The record.
        settings: None; the record's title and subtitle say where it comes from.
    """

    is_scan = False
    has_trajectories = False

    def __init__(self, path: str | Path) -> None:
        self.folder = Path(path)
        self.info = load_record(path)
        self.settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.folder.stem


class Table:
    """A table of roughness in a file, as ``benchmarks/results/roughness.json`` is one.

    Attributes:
        folder: The file.
        rows: Each with network, bits, part, value and jaggedness (`PopulationEstimate.to_dict`).
        settings: None.
    """

    is_scan = False
    has_trajectories = False

    def __init__(self, path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
        self.folder = Path(path)
        self.rows = rows
        self.settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.folder.stem


Source = Run | Study | Record | Table
Report = TypeVar("Report")


def open_source(path: str | Path) -> Source:
    """The run in a folder; or the study, the table or the record in a file.

    Raises:
        UserError: There is none.
    """
    if not Path(path).is_file():
        return Run(path)
    data = read_json(path)
    if isinstance(data, dict) and "record" in data:
        return Record(path)
    if isinstance(data, list) and all(isinstance(row, dict) and "jaggedness" in row for row in data):
        return Table(path, data)
    return Study(path)


def only_runs(sources: Sequence[Source]) -> list[Run]:
    """Those that are run folders."""
    return [source for source in sources if isinstance(source, Run)]


def only_tables(sources: Sequence[Source]) -> list[Table]:
    """Those that are tables of roughness."""
    return [source for source in sources if isinstance(source, Table)]


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
