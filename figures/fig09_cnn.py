"""A convolutional network for comparison."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig09_cnn",
    title="A convolutional network for comparison",
    words=("All weight scales of ResNet-20 (CIFAR-10, 3 bits) along two random directions."),
    runs=("resnet_grid",),
    kind="heatmap",
    options={"value": "loss"},
)

if __name__ == "__main__":
    FIGURE.main()
