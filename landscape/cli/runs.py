"""What the commands about runs share: folders, the summary of a scan, and how it is printed."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import UserError
from landscape.store import RunStore
from landscape.store.folder import NOTHING_STORED, make_folder, user_errors
from landscape.surface import BETTER, Surface, SurfacePoint

RUNS = Path("runs")
"""Where runs go that have no folder of their own."""


def say(message: str) -> None:
    """A message to the user, on standard error."""
    print(message, file=sys.stderr, flush=True)


def new_folder(stem: str) -> Path:
    """A folder below runs/ that does not exist yet: the stem, or with a number behind it."""
    folder, number = RUNS / stem, 1
    while folder.exists():
        number += 1
        folder = RUNS / f"{stem}-{number}"
    return folder


def check_new_folder(folder: Path) -> None:
    """Make sure, before long work, that a new run can be written into a folder; makes it if it is not there.

    Raises:
        UserError: It holds a run or anything else, or it cannot be written.
    """
    with user_errors(folder, NOTHING_STORED):
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{folder} is read-only: make it writable or choose another --out")


def write_json(record: Mapping[str, Any]) -> None:
    """One JSON object on standard output; what is no finite number is null."""
    print(json.dumps(plain(record), indent=2, allow_nan=False, default=str))


def plain(value: Any) -> Any:
    """Plain data in which what is no finite number is None, as JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def summary_record(store: RunStore, surface: Surface, files: Sequence[Path] = ()) -> dict[str, Any]:
    """A scan in one plain record, for ``--json``."""
    settings = store.settings
    done = int(surface.computed.sum())
    seconds = float(store.values()["seconds"].sum())
    return {
        "run": str(store.folder),
        "kind": settings.get("kind"),
        "status": store.status,
        "model": settings["model"],
        "bits": settings["bits"],
        "engine": store.get_meta("engine"),
        "images": settings["images"],
        "points": int(surface.computed.size),
        "done": done,
        "float": dict(surface.reference.get("float") or {}),
        "centre": dict(surface.reference.get("centre") or {}),
        "best": _point(surface, "best"),
        "worst": _point(surface, "worst"),
        "spread": {name: surface.spread(name) for name in surface.values if done},
        "seconds": seconds,
        "images_per_second": done * int(settings["images"]) / seconds if seconds else 0.0,
        "files": [str(file) for file in files],
    }


def _point(surface: Surface, which: str) -> dict[str, Any] | None:
    if not surface.computed.any():
        return None
    point: SurfacePoint = getattr(surface, which)("loss" if "loss" in surface.values else _main(surface))
    return {"alpha": point.alpha, "beta": point.beta, **point.values}


def _main(surface: Surface) -> str:
    return next(name for name in surface.values if name in BETTER)


def summary_lines(surface: Surface) -> list[str]:
    """Float network, centre, best and worst point and spread, as a table of text."""
    from landscape.plots.info import value_text

    names = list(surface.values)
    rows: list[tuple[str, Mapping[str, float]]] = []
    for label in ("float", "centre"):
        rows.append(
            ({"float": "float network", "centre": "quantized, centre"}[label], surface.reference.get(label, {}))
        )
    by = "loss" if "loss" in surface.values else _main(surface)
    if surface.computed.any():
        rows.append((f"best by {by}", surface.best(by).values))
        rows.append((f"worst by {by}", surface.worst(by).values))
        rows.append(("spread (sd)", {name: surface.spread(name)["sd"] for name in names}))
    texts = {name: value_text(name) for name in names}
    header = ["", *(f"{texts[name].short} ({texts[name].unit})".replace(" ()", "") for name in names)]
    body = [[label, *(_number(values.get(name), texts[name]) for name in names)] for label, values in rows]
    return aligned([header, *body])


def _number(value: float | None, text: Any) -> str:
    return "-" if value is None or math.isnan(value) else f"{value * text.factor:z.{text.decimals}f}"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    table = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
