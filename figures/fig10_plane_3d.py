"""The same plane in three dimensions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig10_plane_3d",
    title="The same plane in three dimensions",
    words=("For readers who like hills; the map below it is the better measure."),
    runs=("deit_plane",),
    kind="surface",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
