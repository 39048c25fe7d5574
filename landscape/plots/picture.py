"""A picture: its record, the ways to draw it, and the files it is written to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from landscape.errors import UserError
from landscape.plots.screen.shell import page_around
from landscape.plots.style import DPI

Writer = Callable[[Path], object]


@dataclass(frozen=True)
class Picture:
    """A record and its drawings.

    Attributes:
        info: The record; it has a title and a subtitle.
        paper: Draws it with matplotlib; None if there is no such drawing.
        screen: Draws it with plotly; likewise.
        others: Writers of further formats, by extension.
    """

    info: Any
    paper: Callable[[], Figure] | None
    screen: Callable[[], Any] | None
    others: Mapping[str, Writer] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[str, ...]:
        """Extensions it can be written with."""
        paper = PAPER_FORMATS if self.paper else ()
        screen = ("html",) if self.screen else ()
        return (*self.others, *paper, *screen, "json")

    def save(self, stem: str | Path, formats: Sequence[str]) -> list[Path]:
        """Write it as ``stem.format`` for each format.

        Raises:
            UserError: A format is unknown, or a file cannot be written.
        """
        for name in formats:
            if name not in self.formats:
                raise UserError(f"--format {name} is not possible here; give some of {', '.join(self.formats)}")
        paths = [Path(f"{stem}.{name}") for name in formats]
        try:
            for path, name in zip(paths, formats, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write(path, name)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
        return paths

    def _write(self, path: Path, name: str) -> None:
        if name in self.others:
            self.others[name](path)
        elif name == "json":
            path.write_text(record_text(self.info), encoding="utf-8")
        elif name == "html":
            assert self.screen is not None
            path.write_text(page_around(self.screen(), self.info.title), encoding="utf-8")
        else:
            assert self.paper is not None
            self.paper().savefig(path, dpi=DPI, metadata=_metadata(self.info, name))


PAPER_FORMATS = ("pdf", "png", "svg")
"""Formats of matplotlib."""


def _metadata(info: Any, name: str) -> dict[str, Any]:
    """Title and origin in the words that the format knows."""
    origin = {"pdf": "Subject", "png": "Description", "svg": "Description"}[name]
    found: dict[str, Any] = {"Title": info.title, origin: info.subtitle}
    found["Software" if name == "png" else "Creator"] = "evolq-landscape"
    if name != "png":
        found["CreationDate" if name == "pdf" else "Date"] = None  # the same picture is the same file
    return found


def record_text(info: Any) -> str:
    """A record as JSON, its sort first."""
    data = {"record": type(info).__name__, **plain_record(info)}
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def plain_record(value: Any) -> Any:
    """A record as plain data for JSON: arrays as lists, what is no finite number as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain_record(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_record(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain_record(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_record(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain_record(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
