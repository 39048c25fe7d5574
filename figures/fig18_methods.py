"""What the searches ended with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig18_methods",
    title="What the searches ended with",
    words=(
        "Every seed of the same searches: infoNCE on the search images and, looked at once at the end, top-1 "
        "on the 1,000 test images."
    ),
    runs=("deit_search",),
    kind="methods",
    options={"value": "top1"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
