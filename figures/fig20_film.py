"""A search as a film."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig20_film",
    title="A search as a film",
    words=("The same paths growing with the budget; below, the lowest loss so far."),
    runs=("deit_paths",),
    kind="animation",
    options={},
    formats=("gif",),
)

if __name__ == "__main__":
    run_script(FIGURE.main)
