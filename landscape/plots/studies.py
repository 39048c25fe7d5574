"""Studies of curvature and of gradient reliability, from the files that their commands write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from landscape.curvature.records import Curvature, CurvatureReport, ModelFit
from landscape.errors import UserError
from landscape.plots.reading import read
from landscape.reliability.records import Agreement, Descent, FlipDistance, ReliabilityReport


class Study:
    """The record of a study.

    Attributes:
        folder: The file it was read from.
        settings: Of the network and of the study.
        report: The record.
    """

    is_scan = False
    has_trajectories = False

    def __init__(self, path: str | Path) -> None:
        self.folder = Path(path)
        self.report = load_study(path)
        self.settings: dict[str, Any] = dict(self.report.settings)

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.folder.stem


def read_json(path: str | Path) -> Any:
    """The data in a file.

    Raises:
        UserError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no record of a study ({error}); give what --out of a study wrote") from error


def load_study(path: str | Path) -> CurvatureReport | ReliabilityReport:
    """The record in a file of ``landscape curvature --out`` or ``landscape reliability --out``.

    Raises:
        UserError: The file cannot be read, or holds no such record.
    """
    data = read_json(path)
    if isinstance(data, dict) and {"curvatures", "fits"} <= data.keys():
        found = tuple(read(Curvature, each) for each in data["curvatures"])
        return CurvatureReport(data["settings"], found, tuple(read(ModelFit, each) for each in data["fits"]))
    if isinstance(data, dict) and {"agreements", "descents"} <= data.keys():
        return ReliabilityReport(
            data["settings"],
            tuple(read(Agreement, each) for each in data["agreements"]),
            tuple(read(Descent, each) for each in data["descents"]),
            tuple(read(FlipDistance, each) for each in data.get("flips", ())),
            data.get("replications", {}),
        )
    raise UserError(f"{path} is no record of a study; give what `landscape curvature` or `reliability` --out wrote")
