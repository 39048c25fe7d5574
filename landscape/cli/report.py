"""``landscape report``: one page about some runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from landscape.cli.options import progress_bar
from landscape.cli.runs import say, write_json
from landscape.report import ReportOptions, save_report


def report(
    options: ReportOptions,
    runs: Annotated[list[str], typer.Argument(help="Folders of runs, scans and searches, finished or not.")],
    out: Annotated[str, typer.Option("--out", help="File to write.")] = "report.html",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Write a page about runs that opens in any browser without a network: surfaces, noise, roughness, searches."""
    names = [Path(run).name or run for run in runs]
    command = shlex.join(["landscape", "report", *(f"runs/{name}" for name in names), "--out", Path(out).name])
    path = save_report(runs, out, options, command, progress_bar())
    size = path.stat().st_size
    if as_json:
        write_json({"runs": runs, "file": str(path), "bytes": size})
    else:
        say(f"wrote {path} ({size / 1e6:.1f} MB, {len(runs)} run{'s' if len(runs) > 1 else ''})")
