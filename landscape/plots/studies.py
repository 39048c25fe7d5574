"""Studies of curvature and of gradient reliability, from the files that their commands write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from landscape.curvature.records import Curvature, CurvatureReport, Density, ModelFit
from landscape.errors import UserError
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


def load_study(path: str | Path) -> CurvatureReport | ReliabilityReport:
    """The record in a file of ``landscape curvature --out`` or ``landscape reliability --out``.

    Raises:
        UserError: The file cannot be read, or holds no such record.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no record of a study ({error}); give what --out of a study wrote") from error
    if isinstance(data, dict) and {"curvatures", "fits"} <= data.keys():
        found = tuple(_record(Curvature, each) for each in data["curvatures"])
        return CurvatureReport(data["settings"], found, tuple(_record(ModelFit, each) for each in data["fits"]))
    if isinstance(data, dict) and {"agreements", "descents"} <= data.keys():
        return ReliabilityReport(
            data["settings"],
            tuple(_record(Agreement, each) for each in data["agreements"]),
            tuple(_record(Descent, each) for each in data["descents"]),
            tuple(_record(FlipDistance, each) for each in data.get("flips", ())),
            data.get("replications", {}),
        )
    raise UserError(f"{path} is no record of a study; give what `landscape curvature` or `reliability` --out wrote")


def _record(kind: type, data: Mapping[str, Any]) -> Any:
    """A record of that kind; lists become tuples, a missing number NaN."""
    hints = get_type_hints(kind)
    return kind(**{field.name: _entry(hints[field.name], data[field.name]) for field in fields(kind)})


def _entry(hint: Any, value: Any) -> Any:
    if hint is Density or Density in get_args(hint):
        return None if value is None else _record(Density, value)
    if get_origin(hint) is tuple:
        return tuple(_entry(get_args(hint)[0], each) for each in value)
    optional = get_origin(hint) is UnionType and NoneType in get_args(hint)
    return float("nan") if value is None and not optional else value
