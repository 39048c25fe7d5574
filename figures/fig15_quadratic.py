"""How far a quadratic model holds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig15_quadratic",
    title="How far a quadratic model holds",
    words=(
        "R^2 of local models of the loss within a radius, with intervals that reach below the axis. The legend names "
        "the radii at which it is one half or more: none here. Near the centre the jumps of code flips hide any model, "
        "far from it the models do not hold. Right: how much the loss really changes at each radius, and how much the "
        "models say."
    ),
    runs=("models",),
    kind="fit",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
