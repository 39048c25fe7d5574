"""Can gradients be trusted?"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig14_gradients",
    title="Can gradients be trusted?",
    words=(
        "Left: cosine of gradient estimates with finite differences of the real loss, by step; dashed, that "
        "of the differences of two halves of the images, which no estimate can be expected to beat. Middle: "
        "slopes of the same sign. Right: the loss along steps against each gradient, and in random directions; "
        "the axis is logarithmic beyond 0.01, so that the small gain of steps of up to 10 % shows beside the harm "
        "of larger ones."
    ),
    runs=("reliability",),
    kind="reliability",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
