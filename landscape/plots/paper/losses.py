"""Several losses of one surface side by side, for print."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.plots.info.losses import LossesInfo
from landscape.plots.paper.axes import cells, colour_bar, contours, dress_line, dress_plane
from landscape.plots.paper.surface import draw_curve, mark_points
from landscape.plots.style import GREY, LOSS_COLOURS, PAGE_WIDTH, SCORE_COLOURS, new_figure, paper_style

_COLUMNS = 3


def draw_losses(info: LossesInfo, *, width: float | None = None) -> Figure:
    """Draw a panel for each loss: heat maps of a grid, curves of a line; at most three in a row.

    Above each panel: its rank correlation with the first loss, and the share of its variance that replicates.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    names = list(info.surface.values)
    columns = 2 if len(names) in (2, 4) else min(_COLUMNS, len(names))
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
        mesh = cells(axes, surface.x, surface.y, shown.z, SCORE_COLOURS if name == "top1" else LOSS_COLOURS)
        if mesh is not None:
            colour_bar(axes, mesh, "")
            contours(axes, surface.x, surface.y, shown.z)
        mark_points(axes, surface, shown)
        y_label = surface.y_label.replace(" scales", "\nscales") if number % columns == 0 else None
        dress_plane(axes, surface.x, surface.y, "", y_label, ticks=3)
    else:
        draw_curve(axes, surface, shown, legend=False)
        axes.set_ylabel("")
        dress_line(axes, surface.x, "")
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(surface.x_label.replace(" along", "\nalong") if last else "")
    axes.tick_params(labelbottom=last)
    _write_above(axes, info, name, number)


def _write_above(axes: Axes, info: LossesInfo, name: str, number: int) -> None:
    text = info.surface.values[name].text
    words = info.words(name).split("; ")
    room = max(len(info.words(each).split("; ")) for each in info.surface.values)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    lines = "\n".join([*words, *[""] * (room - len(words))])
    axes.annotate(lines, (0, 1), (0, 3), size=6, color=GREY, **place)
    unit = f" ({text.unit})" if text.unit and text.unit != "1" else ""
    axes.annotate(
        f"{chr(ord('a') + number)}  {text.short}{unit}", (0, 1), (0, 5 + 8 * room), size=7.5, weight="bold", **place
    )
