"""A search as a film."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig16_film",
    title="A search as a film",
    words=(
        "The paths over the scanned plane, growing with the budget; nearly all of their moves are off it, "
        "so that they hardly leave the centre here."
    ),
    runs=("digits_grid", "digits_search"),
    kind="animation",
    options={"value": "infonce"},
    formats=("gif",),
)

if __name__ == "__main__":
    FIGURE.main()
