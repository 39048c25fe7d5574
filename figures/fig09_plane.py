"""A plane through 4-bit DeiT-Tiny."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig09_plane",
    title="A plane through 4-bit DeiT-Tiny",
    words=(
        "Scales of block 5 moved along two random directions; cells are centred on the points. The star is "
        "the best of all points on these very images, so part of its lead is luck. Top-1 takes few distinct "
        "values, and so has no contour lines."
    ),
    runs=("deit_plane",),
    kind="heatmap",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
