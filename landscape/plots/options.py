"""What a picture shows: the options of `landscape plot`."""

from __future__ import annotations

from dataclasses import dataclass

from landscape.errors import UserError


@dataclass(frozen=True)
class PlotOptions:
    """What a picture shows.

    Attributes:
        kind: Of picture; `landscape plot --list` tells what each shows. By default line or heatmap, as the run is.
        value: What is shown of each point: loss, top1, infonce, flip_rate, or another loss of the run.
        cut: Of a grid, the line through the centre along direction 1 or 2, for --kind line.
        level: Coverage of intervals.
        seed: Of random halves of the images.
        images_are: What the images are, for labels, in place of "test" (of the split val) or "training", for folders
            whose val holds something else.
        width: Inches; by default a column (3.5) or a page (7.2) of a paper.
    """

    kind: str | None = None
    value: str = "loss"
    cut: int = 1
    level: float = 0.95
    seed: int = 0
    images_are: str | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"--level {self.level:g} is no coverage; give a number between 0 and 1, such as 0.95")
        if self.width is not None and not 1 <= self.width <= 40:
            raise UserError(f"--width {self.width:g} is not possible; give 1 to 40 inches")
