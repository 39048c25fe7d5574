"""A convolutional network for comparison: a plane."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig13_cnn_plane",
    title="A convolutional network for comparison: a plane",
    words=(
        "ResNet-20 on CIFAR-10 test images, one block of layer2, moved as far and on as many images as the plane "
        "through DeiT-Tiny."
    ),
    runs=("resnet20_plane",),
    kind="heatmap",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
