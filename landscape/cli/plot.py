"""``landscape plot``: draws runs for a paper or for the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.cli.runs import aligned, say, write_json
from landscape.errors import UserError
from landscape.plots.kinds import KINDS, default_kind, make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.picture import PAPER_FORMATS, Picture
from landscape.plots.sources import open_source


def plot(
    options: PlotOptions,
    runs: Annotated[
        list[str] | None, typer.Argument(help="Folders of runs (scans, searches), files of studies.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="With commas: pdf, png, svg, html, json (the record); gif; vts.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="File, or folder; by default the folder of the first run.")
    ] = None,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds of pictures.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Draw a picture of runs: --kind says which, --format for what (pdf and png by default)."""
    if list_kinds:
        print("\n".join(_list()))
        return
    if not runs:
        raise UserError("no run is given; give the folder of a run, such as runs/first")
    opened = [open_source(path) for path in runs]
    kind = options.kind or default_kind(opened)
    picture = make_picture(opened, options)
    first = opened[0].folder
    stem, wanted = _target(out, formats, first if first.is_dir() else first.parent, kind, picture)
    files = picture.save(stem, wanted)
    if as_json:
        write_json({"kind": kind, "runs": [str(run.folder) for run in opened], "files": [str(file) for file in files]})
    else:
        say(f"wrote {', '.join(str(file) for file in files)}")


def _list() -> list[str]:
    rows = aligned([[name, kind.words] for name, kind in KINDS.items()])
    widest = max(map(len, KINDS))
    return [f"{row.split()[0]:{widest}}  {KINDS[row.split()[0]].words}" for row in rows]


def _target(
    out: str | None, formats: str | None, folder: Path, kind: str, picture: Picture
) -> tuple[Path, tuple[str, ...]]:
    """Stem of the files, and their formats: ``--out a/b.pdf`` is one file, ``--out a`` a folder."""
    wanted = tuple(part.strip().lower() for part in formats.split(",")) if formats else ()
    if out is None:
        return folder / kind, wanted or _default_formats(picture)
    path = Path(out)
    extension = path.suffix.lstrip(".").lower()
    if path.suffix and not path.is_dir():
        if extension in picture.formats:
            return path.with_suffix(""), wanted or (extension,)
        if not formats:
            raise UserError(f"--out {out} has no format to write; end it with one of {', '.join(picture.formats)}")
    return path / kind, wanted or _default_formats(picture)


def _default_formats(picture: Picture) -> tuple[str, ...]:
    if picture.others:
        return tuple(picture.others)
    return tuple(name for name in PAPER_FORMATS if name != "svg") if picture.paper else ("html",)
