"""``landscape engines``: which engines this machine has, and why another is not to be had."""

from __future__ import annotations

from typing import Annotated

import typer

from landscape.cli.options import EngineOptions
from landscape.cli.runs import aligned, write_json
from landscape.engine import ENGINES, choose_engine
from landscape.errors import UserError


def engines(
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = EngineOptions.device,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """List the engines, fastest first; all give the same integer codes."""
    found = {}
    for name in ENGINES:
        try:
            found[name] = {"available": True, "words": choose_engine(name, device)[1]}
        except UserError as error:
            found[name] = {"available": False, "words": str(error)}
    if as_json:
        write_json(found)
        return
    lines = aligned([[name, "yes" if entry["available"] else "no"] for name, entry in found.items()])
    print("\n".join(f"{line:16} {entry['words']}" for line, entry in zip(lines, found.values(), strict=True)))
