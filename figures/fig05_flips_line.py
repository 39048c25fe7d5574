"""Code flips along the line."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import run_script
from figures.drawing import Figure

FIGURE = Figure(
    name="fig05_flips_line",
    title="Code flips along the line",
    words=(
        "Left: how many codes of the moved layers differ from the centre's; right: the change of infoNCE at "
        "every point. With this bias correction the network changes only where a code flips."
    ),
    runs=("deit_block5",),
    kind="flips",
    options={"value": "infonce", "images_are": "imagenette"},
)

if __name__ == "__main__":
    run_script(FIGURE.main)
