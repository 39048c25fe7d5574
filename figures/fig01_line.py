"""A line through 4-bit DeiT-Tiny."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig01_line",
    title="A line through 4-bit DeiT-Tiny",
    words=(
        "The paper's picture: the loss of 4-bit weights looks jagged along a random direction of the scales "
        "of one attention block. The band is the paired bootstrap interval of each point's difference to the "
        "centre: where it holds the centre's value, the 1,000 images do not show a difference. Below, the "
        "share of integer codes that differ from the centre's. The images are ImageNet training images of ten "
        "classes; the figures drawn of this line share them."
    ),
    runs=("deit_block5",),
    kind="line",
    options={"images_are": "imagenette"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
