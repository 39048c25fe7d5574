"""Roughness of several surfaces, for print."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from landscape.plots.info.roughness import RoughnessInfo
from landscape.plots.paper.axes import legend_above
from landscape.plots.style import AMBER, BLUE, GREEN, GREY, ORANGE, PAGE_WIDTH, PURPLE, SKY, new_figure, paper_style

SERIES_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, "#000000", GREY)

MOST_LIMITS = 6
"""Surfaces whose limits are drawn beside their curves; more of them would be a thicket."""


def draw_roughness(info: RoughnessInfo, *, width: float | None = None) -> Figure:
    """Draw the measure by place and bit width, and its fall with the number of images.

    Left: hollow, as measured; dash, the floor of noise; filled with an interval, the population's. Right: measured on
    subsets of the images (dots), what the estimate expects (line), and its limit (dotted).

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    colours = {name: SERIES_COLOURS[k % len(SERIES_COLOURS)] for k, name in enumerate(info.series)}
    with paper_style():
        figure = new_figure(width, 0.42 * width, info.title, info.subtitle)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        _draw_places(left, info, colours)
        _draw_sizes(right, info, colours)
        figure.draw_without_rendering()
    return figure


def _draw_places(axes: Axes, info: RoughnessInfo, colours: dict[str, str]) -> None:
    for row in info.rows:
        colour = colours[row.series]
        x, width = info.x_of(row), info.room(row.place)
        axes.vlines(x, row.low, row.high, color=colour, linewidth=1.2)
        axes.plot(x, row.estimate, marker="o", color=colour, markersize=4)
        axes.plot(x, row.measured, marker="o", color=colour, markersize=4, markerfacecolor="white")
        axes.hlines(row.floor, x - 0.4 * width, x + 0.4 * width, color=colour, linewidth=1.2, linestyle=(0, (2, 1)))
    axes.set_xticks(range(len(info.places)), info.places)
    axes.set_xlim(-0.6, len(info.places) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(info.x_label)
    axes.set_ylabel(info.y_label)
    look = {"color": "0.3", "linestyle": "none", "marker": "o", "markersize": 4}
    handles = [Line2D([], [], color=colour, linewidth=3, label=name) for name, colour in colours.items()]
    handles += [
        Line2D([], [], markerfacecolor="white", label="measured", **look),  # type: ignore[arg-type]
        Line2D([], [], color="0.3", linestyle=(0, (2, 1)), label="noise floor"),
        Line2D([], [], label="population, with interval", **look),  # type: ignore[arg-type]
    ]
    legend_above(axes, handles, columns=2)


def _draw_sizes(axes: Axes, info: RoughnessInfo, colours: dict[str, str]) -> None:
    for row in info.rows:
        colour = colours[row.series]
        axes.plot(row.sizes, row.by_size, marker=".", linestyle="none", color=colour, markersize=3.5, alpha=0.7)
        axes.plot(row.sizes, row.expected, color=colour, linewidth=0.7, alpha=0.7)
        if row.estimate > 0 and len(info.rows) <= MOST_LIMITS:
            axes.axhline(row.estimate, color=colour, linewidth=0.5, linestyle=":", alpha=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = np.unique(np.concatenate([row.sizes for row in info.rows]))
    axes.set_xticks(sizes[-5:], [f"{size:,.0f}" for size in sizes[-5:]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("images")
    limits = "; dotted: its limit" if len(info.rows) <= MOST_LIMITS else ""
    axes.set_title(f"dots: on subsets; line: expected{limits}", loc="left", fontsize=6.5, color=GREY)
