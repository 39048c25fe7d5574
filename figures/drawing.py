"""A figure of the study: which runs it shows, how, and what it says; drawn into figures/gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures.command_line import parser, place_of
from figures.places import HOME, Place
from figures.runs import PARTS, command_of, folder_of, is_there, rerun, shown_place
from landscape.plots.kinds import make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.sources import open_source


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: Of its files.
        title: In the gallery.
        words: What to see in it.
        runs: Names of the runs it shows; see `figures.runs`.
        kind: Kind of picture; see `landscape plot --list`.
        options: Further options of `landscape plot`.
        formats: Of its files.
    """

    name: str
    title: str
    words: str
    runs: tuple[str, ...]
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("png", "pdf")

    def missing(self, place: Place = HOME) -> list[str]:
        """Runs that are not kept."""
        return [run for run in self.runs if not is_there(run, place)]

    def draw(self, place: Place = HOME) -> list[Path]:
        """Draw it from the kept runs.

        Raises:
            UserError: One is not there, or does not hold what the figure shows.
        """
        place.make()
        sources = [open_source(folder_of(run, place)) for run in self.runs]
        picture = make_picture(sources, PlotOptions(kind=self.kind, **self.options))
        return picture.save(place.gallery / self.name, self.formats)

    def commands(self) -> list[str]:
        """Command lines that make the runs and draw the picture, for a reader."""
        given = [f"--{name.replace('_', '-')} {value}" for name, value in self.options.items()]
        drawn = " ".join(["landscape plot", *map(shown_place, self.runs), f"--kind {self.kind}", *given])
        if any(run in PARTS for run in self.runs):  # of a file that `landscape plot` does not read
            drawn = f"python figures/{self.name}.py"
        return [*map(command_of, self.runs), drawn]

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Draw it; with --rerun make its runs anew first."""
        options = parser(self.title).parse_args(arguments)
        place = place_of(options)
        if options.rerun:
            rerun(self.runs, place, options.images)
        for path in self.draw(place):
            print(path)
