"""Draws all figures of the study from the kept runs, and the gallery page; with --rerun, makes the runs anew first."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # run as a script: the repository is the place to import from

from figures.command_line import parser, place_of, run_script
from figures.drawing import Figure
from figures.places import HERE
from figures.runs import rerun

_HEAD = """# Figures

Every picture here is drawn by a script of this folder, from a run that is kept in `kept/` (some hundred kB each,
per-image values included) or from a table of `benchmarks/results/`. `make figures` redraws them all in a minute or two.
`make figures FIGURE_FLAGS=--rerun` makes the runs anew first (about an hour of one core; it needs the networks and
images of CONTRIBUTING.md), `FIGURE_FLAGS="--rerun --images 40"` the same on 40 images in minutes, into
`runs/figures/quick`, or into another folder with `--out`. This page is written by `all.py`. [Two whole
scans](gallery/scans.md) are as `landscape scan` draws them.

Caveats that hold for all of them: the ImageNet validation images here are an easier sample than the whole set; of
1,000 images one percent is ten images, of 200 it is two; "imagenette" images are ImageNet *training* images of ten
classes; DeiT-Tiny's LayerNorm parameters come rounded to 8 bits, and the CIFAR images lost some quality to JPEG.
Captions say how to read a picture; what the study concludes stands in the documentation, with more images.
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what can be drawn, and say what cannot."""
    options = parser(__doc__).parse_args(arguments)
    place = place_of(options)
    drawn = []
    if options.rerun:
        rerun((name for figure in figures() for name in figure.runs), place, options.images)
    for figure in figures():
        if figure.missing(place):
            print(
                f"{figure.name}: left out, for {', '.join(figure.missing(place))} is not there; use --rerun", flush=True
            )
            continue
        start = time.perf_counter()
        files = figure.draw(place)
        drawn.append(figure)
        print(
            f"{figure.name}: {', '.join(file.name for file in files)} in {time.perf_counter() - start:.1f} s",
            flush=True,
        )
    (place.root / "README.md").write_text(page(drawn), encoding="utf-8")
    print(place.root / "README.md")


if __name__ == "__main__":
    run_script(main)
