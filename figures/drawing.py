"""A figure of the study: which runs it shows, how, and what it says; drawn into figures/gallery."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures.runs import COMMANDS, HERE, KEPT, command_of, folder_of, rerun
from landscape.plots.kinds import make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.sources import open_source

GALLERY = HERE / "gallery"


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

    def missing(self) -> list[str]:
        """Runs that are not kept."""
        return [run for run in self.runs if not list(KEPT.glob(f"{run}.*"))]

    def draw(self) -> list[Path]:
        """Draw it from the kept runs."""
        sources = [open_source(folder_of(run)) for run in self.runs]
        picture = make_picture(sources, PlotOptions(kind=self.kind, **self.options))
        return picture.save(GALLERY / self.name, self.formats)

    def commands(self) -> list[str]:
        """Command lines that make the runs and draw the picture, for a reader."""
        places = [f"runs/{run}.json" if _is_study(run) else f"runs/{run}" for run in self.runs]
        made = [f"{command_of(run)} --out {place}" for run, place in zip(self.runs, places, strict=True)]
        given = [f"--{name.replace('_', '-')} {value}" for name, value in self.options.items()]
        return [*made, " ".join(["landscape plot", *places, f"--kind {self.kind}", *given])]

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Draw it; with --rerun make its runs anew first."""
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--rerun", action="store_true", help="make the runs anew first")
        if parser.parse_args(arguments).rerun:
            for run in self.runs:
                rerun(run)
        for path in self.draw():
            print(path)


def _is_study(run: str) -> bool:
    return COMMANDS[run].split()[0] in ("reliability", "curvature")
