"""Where they went."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig19_paths",
    title="Where they went",
    words=(
        "Searches as before on 200 images, over the surface on the plane that holds most of the accepted "
        "moves (infoNCE of the same 200 images). A larger dot lies farther off that plane, and there the "
        "surface says little: most of a search happens off any plane."
    ),
    runs=("deit_paths",),
    kind="trajectories",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
