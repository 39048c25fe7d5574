"""Records of pictures in files: written by ``--format json``, drawn again in another width or by another library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo
from landscape.plots.info.curvature import FitInfo, SpectrumInfo
from landscape.plots.info.flips import FlipsInfo
from landscape.plots.info.floor import FloorInfo
from landscape.plots.info.losses import LossesInfo
from landscape.plots.info.reliability import ReliabilityInfo
from landscape.plots.info.roughness import RoughnessInfo
from landscape.plots.info.search import ConvergenceInfo, MethodsInfo
from landscape.plots.info.trajectories import TrajectoriesInfo
from landscape.plots.picture import record_text
from landscape.plots.reading import read

RECORDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        SurfaceInfo, LossesInfo, FloorInfo, FlipsInfo, TrajectoriesInfo, ConvergenceInfo, MethodsInfo, RoughnessInfo,
        SpectrumInfo, FitInfo, ReliabilityInfo,
    )
}  # fmt: skip
"""Sorts of records, by the name in their files."""


def save_record(info: Any, path: str | Path) -> Path:
    """Write a record as JSON: its sort under ``record``, then its fields; what is no finite number as null.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        Path(path).write_text(record_text(info), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return Path(path)


def load_record(path: str | Path) -> Any:
    """The record in a file of `save_record`; an infinity comes back as NaN.

    Raises:
        UserError: The file holds none.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return record_of(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of a picture ({error}); give what --format json wrote") from error


def record_of(data: Mapping[str, Any]) -> Any:
    """The record in plain data.

    Raises:
        KeyError, TypeError, ValueError: There is none.
    """
    return read(RECORDS[data["record"]], data)
