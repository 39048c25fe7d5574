"""What the searches ended with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig14_methods",
    title="What the searches ended with",
    words=("Every seed, on the search images and, looked at once at the end, on the test images."),
    runs=("digits_search",),
    kind="methods",
    options={"value": "loss"},
)

if __name__ == "__main__":
    FIGURE.main()
