"""Jaggedness by block, network and bits: cross-entropy."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig07_roughness_loss",
    title="Jaggedness by block, network and bits: cross-entropy",
    words=(
        "Hollow: as measured on all images. Dash: what noise alone would show at most, 19 times of 20. "
        "Filled, with interval: the population's, from which the noise is subtracted. Right: the measured "
        "value falls with the number of images towards its limit."
    ),
    runs=("roughness",),
    kind="roughness",
    options={"value": "loss"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
