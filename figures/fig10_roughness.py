"""Jaggedness by block and bit width."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig10_roughness",
    title="Jaggedness by block and bit width",
    words=(
        "Hollow: as measured on 500 images. Dash: what noise alone would show. Filled, with interval: the "
        "population's, from which the noise is subtracted. Right: the measured value falls with the number of"
        " images towards its limit."
    ),
    runs=(
        "deit_w4a8_block0",
        "deit_w4a8_block5",
        "deit_w4a8_block10",
        "deit_w3a8_block0",
        "deit_w3a8_block5",
        "deit_w3a8_block10",
        "resnet_line",
    ),
    kind="roughness",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    FIGURE.main()
