"""Where they went."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig15_paths",
    title="Where they went",
    words=(
        "Paths of accepted points on the plane that holds most of their moves; a larger dot lies farther off it. "
        "Most of a search happens off any plane."
    ),
    runs=("digits_search",),
    kind="trajectories",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
