"""Where they went."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig19_paths",
    title="Where they went",
    words=(
        "Searches as before on 200 images, over infoNCE of the same 200 training images on the plane through the start "
        "and the ends of two of them. A larger dot lies farther off that plane, and there the surface says little. "
        "The metric of layer-wise errors finds the way to the valley's side, and evolq (ours) turns from there to its "
        "floor; the other searches move by up to 6 % (RMS), but off this plane, in which they stay at the start."
    ),
    runs=("deit_paths",),
    kind="trajectories",
    options={},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
