"""The noise floor of the plane."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig11_plane_floor",
    title="The noise floor of the plane",
    words=("Measured surface, noise of the same size, and the part that replicates, all in the same colours."),
    runs=("deit_plane",),
    kind="floor",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
