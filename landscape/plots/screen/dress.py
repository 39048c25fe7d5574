"""Parts that interactive pictures share: title, size, colours of gaps, numbers as a page holds them."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.bootstrap import FloatArray
from landscape.plots.style import GREY

TICKS = ".4~%"
"""Format of coordinates on an axis: 0.05 is 5%. (With a sign, zero would be "+0%".)"""

GAP = "#dddddd"
"""Colour of points without a finite value."""

SIGNED_SCALE = "RdBu_r"
"""For differences; as `landscape.plots.style.SIGNED_COLOURS`."""

CONFIG: dict[str, Any] = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "responsive": True}
"""Of plotly: nothing leaves the page, and the picture is as wide as its place."""

_FEWEST_DIGITS = 7
"""Below 1e-7, and above 1e7, numbers get a power of ten."""

_TITLE_COLUMNS, _SUBTITLE_COLUMNS = 80, 115


def dress(
    figure: go.Figure, title: str, subtitle: str, height: int, menus: Sequence[dict[str, Any]] = (), width: int = 920
) -> None:
    """Title, size and buttons. Names are escaped: plotly reads titles as HTML.

    Args:
        figure: It is changed.
        title: First lines.
        subtitle: Smaller lines below.
        height: Pixels, without the title's.
        menus: Rows of buttons, of which there is room for one line.
        width: Pixels.
    """
    first = "<br>".join(escaped(line) for line in textwrap.wrap(title, _TITLE_COLUMNS, break_on_hyphens=False))
    lines = [escaped(line) for line in textwrap.wrap(subtitle, _SUBTITLE_COLUMNS, break_on_hyphens=False)]
    small = "".join(f'<br><span style="font-size: 12px; color: {GREY}">{line}</span>' for line in lines)
    header = 26 * (1 + first.count("<br>")) + 18 * len(lines)
    figure.update_layout(
        title={"text": first + small, "x": 0.01, "y": 1, "yanchor": "top", "pad": {"t": 18}, "font": {"size": 18}},
        template="plotly_white",
        width=width,
        height=height + header,
        margin={"t": header + (68 if menus else 42), "l": 80, "r": 30, "b": 60},
        modebar={"remove": ["sendChartToCloud"]},  # a figure stays on the reader's machine
        updatemenus=list(menus),
    )
    plain_numbers(figure)


def plain_numbers(figure: go.Figure) -> None:
    """Write 0.0003 where plotly would write 300µ, on axes and colour bars; a power of ten stays where one is wanted."""
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        if axis.exponentformat is None:
            axis.minexponent = _FEWEST_DIGITS
    for trace in figure.data:
        if "colorbar" in trace:
            trace.colorbar.minexponent = _FEWEST_DIGITS
    if figure.layout.coloraxis.colorscale:
        figure.layout.coloraxis.colorbar.minexponent = _FEWEST_DIGITS


def escaped(text: str) -> str:
    """Text that plotly is to show as it is."""
    return html.escape(text, quote=False)


def marker(symbol: str, colour: str, size: float = 13) -> dict[str, Any]:
    """A marker with a black edge."""
    return {"symbol": symbol, "color": colour, "size": size, "line": {"color": "black", "width": 1}}


def plain(row: FloatArray) -> list[float | None]:
    """Numbers as a page holds them: what is not finite is a gap."""
    return [float(number) if np.isfinite(number) else None for number in row]


def plain_grid(z: FloatArray) -> list[list[float | None]]:
    """Values of shape (n, m) as plotly takes them: a row for each y."""
    return [plain(row) for row in z.T]


def faint(colour: str, opacity: float) -> str:
    """A hex colour with an opacity."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"
