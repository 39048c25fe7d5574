"""Several losses of one surface side by side, for print."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.plots.info.losses import LossesInfo
from landscape.plots.paper.axes import dress_line
from landscape.plots.paper.surface import draw_cells, draw_curve
from landscape.plots.style import GREY, PAGE_WIDTH, new_figure, paper_style

_COLUMNS = 3
_LINE = 38
"""Letters in a line above a panel."""


def draw_losses(info: LossesInfo, *, width: float | None = None) -> Figure:
    """Draw a panel for each loss: heat maps of a grid, curves of a line; at most three in a row.

    Above each panel: its rank correlation with the first loss, and the share of its variance that replicates.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    names = list(info.surface.values)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    grid = info.surface.y is not None
    height = (0.72 if grid else 0.7) * width / columns + 0.35
    with paper_style():
        figure = new_figure(width, rows * height, info.title, info.subtitle)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for number, axes in enumerate(panels.ravel()):
            if number < len(names):
                _draw_panel(axes, info, names[number], number, columns, last=number + columns >= len(names))
            else:
                axes.set_axis_off()
        figure.draw_without_rendering()
    return figure


def _draw_panel(axes: Axes, info: LossesInfo, name: str, number: int, columns: int, *, last: bool) -> None:
    surface, shown = info.surface, info.surface.values[name]
    if surface.y is not None:
        draw_cells(
            axes,
            surface,
            surface.y,
            shown,
            surface.y_label.replace(" scales", "\nscales") if number % columns == 0 else None,
        )
    else:
        draw_curve(axes, surface, shown, legend=False)
        dress_line(axes, surface.x, surface.x_label)
    axes.set_xlabel(surface.x_label.replace(" along", "\nalong") if last else "")
    axes.tick_params(labelbottom=last)
    words = "\n".join(_lines(info, name))
    axes.annotate(
        words, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", size=6, color=GREY, va="bottom"
    )
    axes.annotate(
        f"{chr(ord('a') + number)}  {shown.text.short}",
        (0, 1),
        (0, 5 + 8 * max(len(_lines(info, each)) for each in surface.values)),
        xycoords="axes fraction",
        textcoords="offset points",
        size=7.5,
        weight="bold",
        va="bottom",
    )


def _lines(info: LossesInfo, name: str) -> list[str]:
    return textwrap.wrap(info.words(name), _LINE)
