"""A convolutional network for comparison: a plane."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig13_cnn_plane",
    title="A convolutional network for comparison: a plane",
    words=(
        "MobileNetV1 0.75, the last block of convolutions, 4-bit weights, on 200 images: one percent of top-1 "
        "is two images."
    ),
    runs=("mobilenet_plane",),
    kind="heatmap",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
