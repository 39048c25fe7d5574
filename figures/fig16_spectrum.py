"""Spectrum of the curvature."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig16_spectrum",
    title="Spectrum of the curvature",
    words=(
        "Spectral density of the straight-through surrogate's Hessian and Gauss-Newton matrix over the scales "
        "of one block; ticks are the outer eigenvalues. The real loss has no Hessian to speak of: it is "
        "piecewise constant."
    ),
    runs=("scales",),
    kind="spectrum",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
