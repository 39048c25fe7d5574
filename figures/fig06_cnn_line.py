"""A convolutional network for comparison: a line."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig06_cnn_line",
    title="A convolutional network for comparison: a line",
    words=(
        "The weight scales of one block of ResNet-20 (4 bits) along a random direction, on 1,000 CIFAR-10 "
        "test images: at nearly the same flip rate as the line through DeiT-Tiny."
    ),
    runs=("resnet20",),
    kind="line",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
