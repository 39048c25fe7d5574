"""A plane through 3-bit DeiT-Tiny."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig04_surface",
    title="A plane through 3-bit DeiT-Tiny",
    words=(
        "Scales of block 5 moved by up to 30 % along two random directions; cells are centred on the points. "
        "The star is the best of 441 points on these very images, so part of its lead is luck."
    ),
    runs=("deit_grid",),
    kind="heatmap",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    FIGURE.main()
