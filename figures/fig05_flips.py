"""Code flips."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig05_flips",
    title="Code flips",
    words=(
        "Between code flips the loss has little reason to change. Left: how many codes of the moved layers "
        "differ from the centre's; right: the change of the loss at every point."
    ),
    runs=("deit_block5",),
    kind="flips",
    options={"value": "infonce"},
)

if __name__ == "__main__":
    FIGURE.main()
