"""Jaggedness by block, network and bits: infoNCE."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig08_roughness_infonce",
    title="Jaggedness by block, network and bits: infoNCE",
    words=("The same for infoNCE, whose jaggedness the images show much better."),
    runs=("roughness",),
    kind="roughness",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
