"""Draws all figures of the study from the kept runs, and the gallery page; with --rerun, makes the runs anew first."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # run as a script: the repository is the place to import from

from figures.drawing import GALLERY, Figure
from figures.runs import HERE, rerun

_HEAD = """# Figures

Every picture here is drawn by a script of this folder from a run that is kept in `kept/` (a few hundred kB each,
per-image values included); `make figures` redraws them all in a minute or two, `make figures FIGURE_FLAGS=--rerun`
makes the runs anew first (an hour on two cores; it needs the networks and images of CONTRIBUTING.md). This page is
written by `all.py`.

Caveats that hold for all of them: the ImageNet validation images here are an easier sample than the whole set, one
percent of 1,000 images is ten images, and the small numbers of images that fit into the repository make noise floors
high. Captions say how to read a picture; what the study concludes stands in the documentation, with more images.
"""


def figures() -> list[Figure]:
    """All figures, by number."""
    names = sorted(path.stem for path in HERE.glob("fig[0-9]*.py"))
    found: list[Figure] = [import_module(f"figures.{name}").FIGURE for name in names]
    return found


def page(drawn: list[Figure]) -> str:
    """The gallery as Markdown."""
    parts = [_HEAD]
    for figure in drawn:
        picture = f"gallery/{figure.name}.{figure.formats[0]}"
        commands = "\n".join(f"    {command}" for command in figure.commands())
        parts.append(f"## {figure.title}\n\n![{figure.title}]({picture})\n\n{figure.words}\n\n{commands}\n")
    return "\n".join(parts)


def main() -> None:
    """Draw what can be drawn, and say what cannot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rerun", action="store_true", help="make the runs anew first")
    again = parser.parse_args().rerun
    GALLERY.mkdir(exist_ok=True)
    drawn = []
    for figure in figures():
        for run in figure.runs if again else ():
            rerun(run)
        if figure.missing():
            print(f"{figure.name}: left out, for {', '.join(figure.missing())} is not kept; use --rerun")
            continue
        start = time.perf_counter()
        files = figure.draw()
        drawn.append(figure)
        print(f"{figure.name}: {', '.join(file.name for file in files)} in {time.perf_counter() - start:.1f} s")
    (HERE / "README.md").write_text(page(drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
