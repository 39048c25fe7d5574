"""How much of that line is noise: infoNCE."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig03_floor_infonce",
    title="How much of that line is noise: infoNCE",
    words=("The same for infoNCE against the float network, in batches of 100 images: more of it replicates."),
    runs=("deit_block5",),
    kind="floor",
    options={"value": "infonce", "images_are": "imagenette"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
