"""Can gradients be trusted?"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.drawing import Figure

FIGURE = Figure(
    name="fig11_gradients",
    title="Can gradients be trusted?",
    words=(
        "Cosine of gradient estimates with finite differences of the real loss, by step; slopes of the same "
        "sign; the loss along steps against each gradient."
    ),
    runs=("digits_reliability",),
    kind="reliability",
    options={},
)

if __name__ == "__main__":
    FIGURE.main()
