"""Code flips, for print: the rate over the surface, and the loss against it."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.plots.info.flips import FlipsInfo
from landscape.plots.paper.axes import cells, colour_bar, contours, dress_line, dress_plane
from landscape.plots.style import BLUE, GREY, PAGE_WIDTH, new_figure, paper_style

_COLOURS = "magma_r"


def draw_flips(info: FlipsInfo, *, width: float | None = None) -> Figure:
    """Draw the flip rate (a map of a grid, a curve of a line) and, beside it, the loss's change at every point.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    with paper_style():
        figure = new_figure(width, 0.42 * width, info.title, info.subtitle)
        left, right = figure.subplots(1, 2)
        _draw_rate(left, info)
        _draw_change(right, info)
        figure.draw_without_rendering()
    return figure


def _draw_rate(axes: Axes, info: FlipsInfo) -> None:
    surface, flips = info.surface, info.surface.values["flip_rate"]
    if surface.y is None:
        axes.plot(surface.x, flips.z, color=GREY, marker=".", markersize=2.5)
        axes.set_ylabel(flips.text.label)
        axes.set_ylim(bottom=0)
        dress_line(axes, surface.x, surface.x_label)
    else:
        mesh = cells(axes, surface.x, surface.y, flips.z, _COLOURS)
        if mesh is not None:
            colour_bar(axes, mesh, flips.text.label)
            contours(axes, surface.x, surface.y, flips.z)
        dress_plane(axes, surface.x, surface.y, surface.x_label, surface.y_label)
    axes.set_title("a  codes that differ from the centre's", loc="left")


def _draw_change(axes: Axes, info: FlipsInfo) -> None:
    text = info.surface.values[info.name].text
    axes.axhline(0, color="0.6", linewidth=0.6)
    if info.low is not None and info.high is not None:
        axes.vlines(info.flips, info.low, info.high, color=BLUE, alpha=0.15, linewidth=0.8, zorder=1)
    axes.scatter(info.flips, info.change, s=6, color=BLUE, linewidths=0, alpha=0.8, zorder=2)
    axes.set_xlabel(info.surface.values["flip_rate"].text.label)
    axes.set_ylabel(text.change_label)
    bars = f", {100 * info.surface.level:g}% paired intervals" if info.low is not None else ""
    axes.set_title(f"b  change at every point{bars}", loc="left")
    if info.surface.y is not None:
        axes.set_box_aspect(1)
