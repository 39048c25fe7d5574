"""A plane through a bundled network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig08_plane",
    title="A plane through a bundled network",
    words=(
        "Scales of block 1 of the digits transformer moved along two random directions; cells are centred on "
        "the points. The star is the best of all points on these very images, so part of its lead is luck."
    ),
    runs=("digits_grid",),
    kind="heatmap",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    FIGURE.main()
