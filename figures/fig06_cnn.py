"""A convolutional network for comparison."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig06_cnn",
    title="A convolutional network for comparison",
    words=("The weight scales of one block of ResNet-20 (CIFAR-10, 4 bits), along a random direction."),
    runs=("resnet20",),
    kind="line",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
