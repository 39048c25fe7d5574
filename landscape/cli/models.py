"""``landscape models``: the networks that need no download, and the families that are supported."""

from __future__ import annotations

from typing import Annotated

import typer

from landscape.cli.runs import aligned, write_json
from landscape.models import list_models
from landscape.models.loading import TIMM_FAMILIES


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """List the bundled networks, and what else can be named with --model."""
    found = list_models()
    if as_json:
        write_json({"bundled": [vars(model) for model in found], "timm_families": list(TIMM_FAMILIES)})
        return
    rows = [["bundled network", "parameters", "kB", "test top-1 (%)"]]
    rows += [[m.name, f"{m.parameters:,}", f"{m.size_bytes / 1000:.0f}", f"{m.test_accuracy:.2f}"] for m in found]
    print("\n".join(aligned(rows)))
    print("\nAny timm model by name, with --weights FILE or --pretrained; tested families:")
    print("\n".join(f"  {family}" for family in TIMM_FAMILIES))
    print("Nearly all others can be quantized too; what cannot is refused, with the module and the reason.")
    print("\nYour own network: --model path/to/file.py:factory or package.module:factory")
