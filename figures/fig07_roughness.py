"""Jaggedness of two blocks and of a convolutional network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig07_roughness",
    title="Jaggedness of two blocks and of a convolutional network",
    words=(
        "Hollow: as measured on 1,000 images. Dash: what noise alone would show. Filled, with interval: the "
        "population's, from which the noise is subtracted. Right: the measured value falls with the number of"
        " images towards its limit."
    ),
    runs=("deit_block5", "deit_block10", "resnet20"),
    kind="roughness",
    options={"value": "loss"},
)

if __name__ == "__main__":
    FIGURE.main()
