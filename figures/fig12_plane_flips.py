"""The map of code flips."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig12_plane_flips",
    title="The map of code flips",
    words=("Left: the share of integer codes that differ from the centre's; right: the change of infoNCE against it."),
    runs=("deit_plane",),
    kind="flips",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
