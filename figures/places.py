"""Where figures and the runs behind them lie: in this folder, or elsewhere for a quick try with few images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / "runs" / "figures"
"""Runs unpacked, and those that are too large to keep."""


@dataclass(frozen=True)
class Place:
    """A folder with runs, pictures and a page.

    Attributes:
        root: The folder.
    """

    root: Path = HERE

    @property
    def kept(self) -> Path:
        """Of the runs."""
        return self.root / "kept"

    @property
    def gallery(self) -> Path:
        """Of the pictures."""
        return self.root / "gallery"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.kept, self.gallery):
            folder.mkdir(parents=True, exist_ok=True)


HOME = Place()
QUICK = Place(CACHE / "quick")
"""For runs on fewer images than the figures are of: what is kept in the repository stays."""


def place_for(images: int | None) -> Place:
    """The place of runs on so many images; None for all."""
    return HOME if images is None else QUICK
