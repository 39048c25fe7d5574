"""Searches at equal budget."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig17_convergence",
    title="Searches at equal budget",
    words=(
        "DeiT-Tiny W3A8. Lowest infoNCE so far on 1,000 training images against the budget, 24 evaluations of "
        "all of them. Where a method has several seeds the line is their mean and the band reaches from the "
        "lowest to the highest."
    ),
    runs=("deit_search",),
    kind="convergence",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
