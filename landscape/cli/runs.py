"""What the commands about runs share: folders, the summary of a scan, and how it is printed."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from landscape.cli.options import RunOptions
from landscape.errors import UserError
from landscape.store import RunStore
from landscape.store.folder import NOTHING_STORED, make_folder, user_errors
from landscape.surface import BETTER, Surface, SurfacePoint

RUNS = Path("runs")
"""Where runs go that have no folder of their own."""


class Interrupted(Exception):  # noqa: N818 (no error, but the user's wish)
    """Ctrl-C, where the message says how to go on."""


def say(message: str) -> None:
    """A message to the user, on standard error; the work goes on also where it cannot be written."""
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send a stream that cannot be written nowhere; else Python fails on what it still holds, when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class RunFolder:
    """The folder of a command's run; around all of the command's work.

    After Ctrl-C it says how to go on, and whatever goes wrong, it leaves no empty folder behind.
    """

    def __init__(self, run: RunOptions) -> None:
        self._run = run
        self._folder = Path(run.out) if run.out else None
        self._made: list[Path] = []

    def claim(self, stem: str) -> Path:
        """The folder: ``--out``, or one below runs/. It is made, unless it holds the run to be continued.

        Raises:
            UserError: It cannot be used.
        """
        folder = self._folder = self._folder or new_folder(stem)
        if not (self._run.resume and RunStore.exists(folder)):
            with user_errors(folder, NOTHING_STORED):
                self._made = [part for part in (folder, *folder.parents) if not part.exists()]
            check_new_folder(folder)
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._folder is not None and RunStore.exists(self._folder):
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("what is stored is safe: continue with --resume") from error
            return
        with suppress(OSError):  # one that is not empty stays
            for folder in self._made:
                folder.rmdir()


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


def check_file(path: Path, option: str = "--out") -> None:
    """Make sure, before long work, that a file can be written.

    Raises:
        UserError: It cannot.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give the name of a file")
    if not folder.is_dir():
        raise UserError(f"{option} {path}: the folder {folder} does not exist; make it or choose another")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"{option} {path} is read-only or lies in a read-only folder; choose another")


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


def save_pictures(surface: Surface, folder: Path, found: Any = None) -> list[str]:
    """Write surface.png and surface.html into a run's folder.

    Args:
        surface: What is drawn.
        folder: Of the run.
        found: See `landscape.plots.surface_info`.

    Raises:
        UserError: They cannot be written.
    """
    from landscape.plots import save_surface, surface_info  # matplotlib and plotly, only where something is drawn

    try:
        files = save_surface(surface_info(surface, surface.names, found=found), folder)
    except UserError as error:
        if getattr(error.__cause__, "errno", None) not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UserError(
            f"{folder} is read-only, so it gets no pictures; draw them elsewhere: landscape plot {folder} --out FOLDER"
        ) from error
    return [str(file) for file in files]


def summary_record(store: RunStore, surface: Surface, files: Sequence[str] = ()) -> dict[str, Any]:
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
        "files": list(files),
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
