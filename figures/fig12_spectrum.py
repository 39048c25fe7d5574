"""Curvature."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig12_spectrum",
    title="Curvature",
    words=(
        "Spectral densities of the straight-through surrogate's and of the float network's curvature over the"
        " scales; ticks are the outer eigenvalues."
    ),
    runs=("digits_curvature",),
    kind="spectrum",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
