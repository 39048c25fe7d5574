"""Where figures and the runs behind them lie: in this folder, or elsewhere for a quick try with few images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from landscape.errors import UserError

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / "runs" / "figures"
"""Runs unpacked, and those that are too large to keep."""

SHOWN_DATA = "../shared/data"
"""Real networks and images, from the repository's folder, as commands for a reader name them; see CONTRIBUTING.md."""


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

    @property
    def cache(self) -> Path:
        """Of runs that are being made, and of what is too large to keep."""
        return CACHE if self.root == HERE else self.root

    def make(self) -> None:
        """Make the folders.

        Raises:
            UserError: They cannot be made.
        """
        try:
            for folder in (self.kept, self.gallery):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.root} cannot be used: {error.strerror or error}; choose another --out") from error


HOME = Place()
QUICK = Place(CACHE / "quick")
"""For runs on fewer images than the figures are of: what is kept in the repository stays."""


def place_for(images: int | None, out: Path | None = None) -> Place:
    """The place of runs on so many images (None for all), unless another is named."""
    if out is not None:
        return Place(out.resolve())
    return HOME if images is None else QUICK


def shared_data() -> Path:
    """The folder of real networks and images: ``LANDSCAPE_SHARED_DATA``, or `SHOWN_DATA`.

    Raises:
        UserError: There is none.
    """
    folder = Path(os.environ.get("LANDSCAPE_SHARED_DATA", HERE.parent / SHOWN_DATA)).resolve()
    if not folder.is_dir():
        raise UserError(f"no networks and images in {folder}; set LANDSCAPE_SHARED_DATA to their folder")
    return folder
