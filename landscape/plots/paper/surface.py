"""Printed pictures of a surface: a curve with its interval, or heat maps with contours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.bootstrap import FloatArray
from landscape.plots.info import SurfaceInfo, ValueInfo, percent
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

_NO_VALUE: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "0.6", "hatch": "/////"}


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


def _draw_line(info: SurfaceInfo, shown: ValueInfo, width: float | None) -> Figure:
    flips = info.values.get("flip_rate") if shown.name != "flip_rate" else None
    width = width or COLUMN_WIDTH
    figure = new_figure(width, (3.6 if flips else 2.9) * (width / COLUMN_WIDTH) ** 0.5, info.title, info.subtitle)
    rows = figure.subplots(2 if flips else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 1] if flips else [1])
    _draw_curve(rows[0, 0], info, shown)
    if flips:
        rows[1, 0].plot(info.x, flips.z, color=GREY, marker=".", markersize=2.5)
        rows[1, 0].set_ylabel(flips.text.label.replace(" (", "\n("))
        rows[1, 0].set_ylim(bottom=0)
    bottom: Axes = rows[-1, 0]
    bottom.set_xlabel(info.x_label)
    bottom.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
    bottom.set_xlim(*_edges(info.x)[[0, -1]])
    figure.align_ylabels()
    return figure


def _draw_curve(axes: Axes, info: SurfaceInfo, shown: ValueInfo) -> None:
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
    _mark(axes, info, shown)
    if shown.float_level is not None and shown.float_in_range:
        axes.axhline(
            shown.float_level, color=GREEN, linestyle="--", label=f"float network: {shown.write(shown.float_level)}"
        )
    axes.set_ylabel(shown.text.label)
    if shown.limits is None:
        _say_empty(axes)
        axes.set_yticks([])
    _legend(axes, shown, line=True)


def _draw_grid(info: SurfaceInfo, y: FloatArray, shown: ValueInfo, width: float | None) -> Figure:
    beside = info.values.get("loss" if shown.name == "top1" else "top1")
    panels = [shown] if beside is None else [shown, beside]
    width = width or (PAGE_WIDTH if beside else COLUMN_WIDTH)
    figure = new_figure(width, 0.66 * width / len(panels) + 0.85, info.title, info.subtitle)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _draw_heat_map(axes, info, y, panel)
    figure.axes[0].set_ylabel(info.y_label)
    return figure


def _draw_heat_map(axes: Axes, info: SurfaceInfo, y: FloatArray, shown: ValueInfo) -> None:
    z = np.ma.masked_invalid(shown.z.T)
    axes.patch.set(**_NO_VALUE)
    if z.count():
        low, high = _colour_range(float(z.min()), float(z.max()))
        colours = SCORE_COLOURS if shown.name == "top1" else LOSS_COLOURS
        mesh = axes.pcolormesh(_edges(info.x), _edges(y), z, cmap=colours, vmin=low, vmax=high, rasterized=True)
        beside = axes.inset_axes((1.03, 0, 0.05, 1))  # of the axes, so that it is as high as they are
        axes.figure.colorbar(mesh, cax=beside, label=shown.text.label)
        if z.max() > z.min() and min(z.shape) > 1:
            levels = MaxNLocator(7).tick_values(float(z.min()), float(z.max()))
            axes.contour(info.x, y, z, levels=levels, colors="black", linewidths=0.35, alpha=0.5)
    else:
        _say_empty(axes)
    _mark(axes, info, shown)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlabel(info.x_label)
    axes.set_box_aspect(1)
    axes.set_xlim(*_edges(info.x)[[0, -1]])
    axes.set_ylim(*_edges(y)[[0, -1]])
    _legend(axes, shown, line=False)


def _mark(axes: Axes, info: SurfaceInfo, shown: ValueInfo) -> None:
    """A cross on the centre and a star on the best point, each with its value."""
    grid = info.y is not None
    look: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black", "markeredgewidth": 0.5}
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
        handles.append(Patch(**_NO_VALUE, linewidth=0.3))
        labels.append("no finite value")
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=1 if line else 2,
        frameon=False,
        handlelength=1.5,
        columnspacing=1.0,
        borderaxespad=0.2,
        labelspacing=0.3,
    )


def _colour_range(low: float, high: float) -> tuple[float, float]:
    """Ends of the colour bar; a constant surface gets 1% around its value, so that its bar can be read."""
    margin = (0.01 * abs(low) or 0.01) if low == high else 0.0
    return low - margin, high + margin


def _say_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center")


def _edges(centres: FloatArray) -> FloatArray:
    """Borders of cells centred on the coordinates (halfway between neighbours); a lone point gets +-0.5%."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.005, centres[0] + 0.005])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
