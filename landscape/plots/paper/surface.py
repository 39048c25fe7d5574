"""Printed pictures of a surface: a curve with its interval, heat maps, contour lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo, ValueInfo
from landscape.plots.info.words import written
from landscape.plots.paper.axes import (
    NO_VALUE,
    cells,
    colour_bar,
    colour_range,
    contours,
    dress_line,
    dress_plane,
    legend_above,
    say_empty,
)
from landscape.plots.style import (
    BLUE,
    COLUMN_WIDTH,
    GREEN,
    GREY,
    LOSS_COLOURS,
    ORANGE,
    PAGE_WIDTH,
    SCORE_COLOURS,
    new_figure,
    paper_style,
)


def draw_surface(info: SurfaceInfo, value: str = "loss", *, width: float | None = None) -> Figure:
    """Draw a surface for print.

    A line becomes a curve, with the paired interval of the difference to the centre as a band and the code-flip rate
    below. A grid becomes a heat map whose cells are centred on the grid's points, with contours and top-1 beside it
    (the loss beside top-1). Points without a finite value are hatched grey, or gaps in the curve.

    Args:
        info: The record of the surface.
        value: Name of the value to show.
        width: Inches; by default a column for a line, a page for a grid.

    Raises:
        UserError: If the record has no such value.
    """
    shown = info.chosen(value)
    with paper_style():
        figure = _draw_line(info, shown, width) if info.y is None else _draw_grid(info, info.y, shown, width)
        figure.draw_without_rendering()  # ticks are made when first drawn: make them while the style holds
    return figure


def draw_contours(info: SurfaceInfo, value: str = "loss", *, width: float | None = None) -> Figure:
    """Draw one value of a grid as filled contours with written levels, a column wide.

    A value with few distinct levels is drawn as cells, and the legend says so.

    Raises:
        UserError: If the record has no such value, or is a line.
    """
    shown = info.chosen(value)
    if info.y is None:
        raise UserError("contours need a grid, and this run is a line; take --kind line")
    with paper_style():
        width = width or COLUMN_WIDTH
        figure = new_figure(width, 0.72 * width + 0.3, info.title, info.subtitle)
        _draw_levels(figure.subplots(), info, info.y, shown)
        figure.draw_without_rendering()
    return figure


def _draw_line(info: SurfaceInfo, shown: ValueInfo, width: float | None) -> Figure:
    flips = info.values.get("flip_rate") if shown.name != "flip_rate" else None
    width = width or COLUMN_WIDTH
    figure = new_figure(width, (3.6 if flips else 2.9) * (width / COLUMN_WIDTH) ** 0.5, info.title, info.subtitle)
    rows = figure.subplots(2 if flips else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 1] if flips else [1])
    draw_curve(rows[0, 0], info, shown)
    if flips:
        rows[1, 0].plot(info.x, flips.z, color=GREY, marker=".", markersize=2.5)
        rows[1, 0].set_ylabel(flips.text.label.replace(" (", "\n("))
        rows[1, 0].set_ylim(bottom=0)
    bottom: Axes = rows[-1, 0]
    dress_line(bottom, info.x, info.x_label)
    figure.align_ylabels()
    return figure


def draw_curve(axes: Axes, info: SurfaceInfo, shown: ValueInfo, *, legend: bool = True) -> None:
    """One value along a line: curve, interval, centre, best point and float level."""
    axes.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    if np.isfinite(shown.centre):
        axes.axhline(shown.centre, color="0.8", linewidth=0.6, zorder=0)
    axes.plot(info.x, shown.z, color=BLUE, marker=".", markersize=2.5, label="quantized network")
    if shown.low is not None and shown.high is not None:
        images = f"{info.images:,} images" if info.images else "images"
        axes.fill_between(
            info.x,
            shown.centre + shown.low,
            shown.centre + shown.high,
            color=BLUE,
            alpha=0.2,
            linewidth=0.5,
            label=f"{100 * info.level:g}% interval of the difference to the centre\n(paired bootstrap over {images})",
        )
    mark_points(axes, info, shown)
    if shown.float_level is not None and shown.float_in_range:
        axes.axhline(
            shown.float_level, color=GREEN, linestyle="--", label=f"float network: {shown.write(shown.float_level)}"
        )
    axes.set_ylabel(shown.text.label)
    if shown.limits is None:
        say_empty(axes)
        axes.set_yticks([])
    elif shown.limits[0] == shown.limits[1]:
        axes.set_ylim(*colour_range(*shown.limits))
    if legend:
        _legend(axes, shown, line=True)


def _draw_grid(info: SurfaceInfo, y: FloatArray, shown: ValueInfo, width: float | None) -> Figure:
    beside = info.values.get("loss" if shown.name == "top1" else "top1")
    panels = [shown] if beside is None else [shown, beside]
    width = width or (PAGE_WIDTH if beside else COLUMN_WIDTH)
    figure = new_figure(width, 0.66 * width / len(panels) + 0.9, info.title, info.subtitle)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _draw_heat_map(axes, info, y, panel)
    figure.axes[0].set_ylabel(info.y_label)
    return figure


def _draw_heat_map(axes: Axes, info: SurfaceInfo, y: FloatArray, shown: ValueInfo, y_label: str | None = None) -> None:
    draw_cells(axes, info, y, shown, y_label)
    _legend(axes, shown, line=False)


def draw_cells(axes: Axes, info: SurfaceInfo, y: FloatArray, shown: ValueInfo, y_label: str | None = None) -> None:
    """One value of a grid: cells, contours, a colour bar, the centre and the best point."""
    mesh = cells(axes, info.x, y, shown.z, SCORE_COLOURS if shown.name == "top1" else LOSS_COLOURS)
    if mesh is not None:
        colour_bar(axes, mesh, shown.text.label)
        contours(axes, info.x, y, shown.z)
    mark_points(axes, info, shown)
    dress_plane(axes, info.x, y, info.x_label, y_label)


def _draw_levels(axes: Axes, info: SurfaceInfo, y: FloatArray, shown: ValueInfo) -> None:
    if shown.levels:
        _draw_heat_map(axes, info, y, shown, info.y_label)
        return
    z = np.ma.masked_invalid(shown.z.T)
    axes.patch.set(**NO_VALUE)
    if z.count() and z.max() > z.min() and min(z.shape) > 1:
        colours = SCORE_COLOURS if shown.name == "top1" else LOSS_COLOURS
        steps = MaxNLocator(12, steps=[1, 2, 5, 10]).tick_values(float(z.min()), float(z.max()))
        drawn = axes.contourf(info.x, y, z, levels=steps, cmap=colours)
        levels = steps[::2]  # 2, 4 or 10 of a decimal apart: one digit tells them apart
        lines = axes.contour(info.x, y, z, levels=levels, colors="black", linewidths=0.4, alpha=0.7)
        decimals = max(0, -int(np.floor(np.log10((levels[1] - levels[0]) * 1.001))))
        axes.clabel(lines, fontsize=5.5, inline_spacing=2, fmt=lambda level: written(level, decimals))
        colour_bar(axes, drawn, shown.text.label)
    else:
        say_empty(axes, "no levels: fewer than two finite values")
    mark_points(axes, info, shown)
    dress_plane(axes, info.x, y, info.x_label, info.y_label)
    axes.set_xlim(info.x[0], info.x[-1])
    axes.set_ylim(y[0], y[-1])
    _legend(axes, shown, line=False)


def mark_points(axes: Axes, info: SurfaceInfo, shown: ValueInfo) -> None:
    """A cross on the centre and a star on the best point, each with its value."""
    grid = info.y is not None
    look: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black", "markeredgewidth": 0.5, "clip_on": False}
    if np.isfinite(shown.centre):
        height = 0.0 if grid else shown.centre
        label = f"centre: {shown.write(shown.centre)}"
        axes.plot([0.0], [height], marker="P", markersize=5, color="white", label=label, zorder=5, **look)
    if shown.best is not None:
        best = float(shown.z[shown.best.index])
        height = shown.best.beta if shown.best.beta is not None else best
        label = f"best: {shown.write(best)}"
        axes.plot([shown.best.alpha], [height], marker="*", markersize=9, color=ORANGE, label=label, zorder=4, **look)


def _legend(axes: Axes, shown: ValueInfo, *, line: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if shown.float_level is not None and not (line and shown.float_in_range):
        handles.append(Line2D([], [], linestyle="none"))
        labels.append(f"float network: {shown.write(shown.float_level)}{' (outside this range)' if line else ''}")
    if not line and not np.isfinite(shown.z).all():
        handles.append(Patch(**NO_VALUE, linewidth=0.3))
        labels.append("no finite value")
    if not line and shown.levels:
        handles.append(Line2D([], [], linestyle="none"))
        labels.append(shown.levels_words)
    legend_above(axes, handles, 1 if line else 2, labels=labels)
