"""Losses side by side."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig04_losses",
    title="Losses side by side",
    words=(
        "One line, three losses. Above each: its rank correlation with the cross-entropy, and the share of "
        "its variance over the points that other images would show again."
    ),
    runs=("deit_block5",),
    kind="losses",
    options={"images_are": "imagenette"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
