"""The look of printed figures: sizes, fonts and colours, applied without touching the user's own settings."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine

COLUMN_WIDTH = 3.5
"""Inches; one column of a two-column paper."""
PAGE_WIDTH = 7.2
"""Inches; both columns."""
DPI = 200

# Okabe and Ito's palette, told apart by colour-blind readers.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
PURPLE, AMBER, SKY = "#CC79A7", "#E69F00", "#56B4E9"
LOSS_COLOURS, SCORE_COLOURS = "viridis", "cividis"
SIGNED_COLOURS = "RdBu_r"
"""For differences: blue below zero, white at it, red above; red and blue are told apart by colour-blind readers."""

PAPER: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.4,
    "axes.formatter.useoffset": False,
    "pdf.fonttype": 42,  # TrueType, so that text in a PDF stays text
    "ps.fonttype": 42,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
}

_TITLE_SIZE, _SUBTITLE_SIZE = 8.5, 6.5
_MARGIN = 0.06


@contextmanager
def paper_style() -> Iterator[None]:
    """Apply `PAPER` inside a with block; the user's settings return afterwards."""
    with matplotlib.style.context(["default", PAPER]):
        yield


class PaperFigure(Figure):
    """A figure that keeps its look when saved or shown in a notebook, with no pyplot state behind it."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """As `Figure.savefig`, with the settings of `PAPER`."""
        with paper_style():
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, body: float, title: str, subtitle: str) -> PaperFigure:
    """A figure with a header that never meets the axes: `body` inches are left for them, whatever the title's length.

    Args:
        width: Inches.
        body: Height below the header in inches.
        title: First lines, bold; wrapped to the width.
        subtitle: Further lines, small; wrapped likewise.
    """
    points = 72 * (width - 2 * _MARGIN)
    lines = [(line, _TITLE_SIZE, "bold", "black") for line in _wrapped(title, points, _TITLE_SIZE, "bold")]
    lines += [(line, _SUBTITLE_SIZE, "normal", GREY) for line in _wrapped(subtitle, points, _SUBTITLE_SIZE, "normal")]
    header = sum(1.35 * size / 72 for _, size, _, _ in lines) + 2 * _MARGIN
    height = body + header
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN / 2, rect=(0, 0, 1, body / height))
    figure = PaperFigure(figsize=(width, height), layout=layout)
    top = height - _MARGIN
    for line, size, weight, colour in lines:
        text = figure.text(_MARGIN / width, top / height, line, size=size, weight=weight, color=colour, va="top")
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign
        text.set_in_layout(False)
        top -= 1.35 * size / 72
    return figure


def _wrapped(text: str, points: float, size: float, weight: str) -> list[str]:
    """The fewest lines of `text` that are at most `points` wide in a font of that size and weight."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(size, 72)
    advance = {letter: font.load_char(ord(letter)).linearHoriAdvance / 2**16 for letter in {*text, " "}}
    lines: list[str] = []
    for columns in range(len(text), 0, -1):
        lines = textwrap.wrap(text, columns, break_on_hyphens=False)
        if all(sum(advance.get(letter, size) for letter in line) <= points for line in lines):
            break
    return lines
