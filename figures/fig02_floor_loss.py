"""How much of that line is noise: cross-entropy."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig02_floor_loss",
    title="How much of that line is noise: cross-entropy",
    words=(
        "The same line from two disjoint halves of the images. What they share is the landscape; half their "
        "difference is as large as the noise in the curve of all images. The lowest panel shows, by "
        "wavelength, the share of the power that other images would show again, with its standard error; a "
        "triangle lies below the axis."
    ),
    runs=("deit_block5",),
    kind="floor",
    options={"value": "loss", "images_are": "imagenette"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
