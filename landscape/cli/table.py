"""``landscape table``: a scan as a tidy table, one row a point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from landscape.cli.runs import check_file, say
from landscape.scan import load_surface


def table(
    run: Annotated[str, typer.Argument(help="Folder of a scan.")],
    csv: Annotated[str | None, typer.Option("--csv", help="File to write; standard output without it.")] = None,
) -> None:
    """Write a scan as CSV: alpha, beta, and every value (loss, top1, infonce, flip_rate), one row a point."""
    if csv is not None:
        check_file(Path(csv), "--csv")
    surface = load_surface(run)
    if csv is None:
        print(surface.to_dataframe().to_csv(index=False), end="")
        return
    surface.to_csv(csv)
    say(f"wrote {int(surface.computed.size)} rows to {csv}")
