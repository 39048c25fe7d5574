"""Searches at equal budget."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig13_convergence",
    title="Searches at equal budget",
    words=(
        "Best loss so far on the search images against images through the full network; lines are means over "
        "seeds, bands reach from the lowest to the highest seed."
    ),
    runs=("digits_search",),
    kind="convergence",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
