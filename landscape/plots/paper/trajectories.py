"""Paths of searches on the surface they walked, for print."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from landscape.bootstrap import FloatArray
from landscape.plots.info.trajectories import PathInfo, TrajectoriesInfo
from landscape.plots.info.words import percent
from landscape.plots.methods import Look, looks
from landscape.plots.paper.axes import PERCENT, cells, colour_bar, edges, legend_above
from landscape.plots.style import COLUMN_WIDTH, new_figure, paper_style

_SMALLEST, _LARGEST = 2.0, 8.0
"""Diameters of dots, in points, in the plane and farthest off it."""


def draw_trajectories(info: TrajectoriesInfo, *, width: float | None = None) -> Figure:
    """Draw the paths of accepted points over the surface in grey, every method in its colour.

    A dot's size shows how far its point lies off the plane; the white cross is the start, a ringed dot the best point
    of a search. Visited points that were not accepted are faint.

    Args:
        info: The record.
        width: Inches; by default a column and a half.
    """
    width = width or 1.4 * COLUMN_WIDTH
    with paper_style():
        rows = (len(info.labels) + 5) // 2  # of the legend
        figure = new_figure(width, 0.78 * width + 0.12 * rows, info.title, info.subtitle)
        axes = figure.subplots()
        limits = path_limits(info)
        draw_background(axes, info)
        found = looks(info.labels)
        for path in info.paths:
            draw_path(axes, path, found[path.label], info.largest_off)
        axes.plot(
            [0], [0], marker="P", color="white", markeredgecolor="black", markersize=6, linestyle="none", zorder=9
        )
        dress_paths(axes, info, limits)
        legend_above(axes, path_handles(info, found), columns=2)
        figure.draw_without_rendering()
    return figure


def draw_path(axes: Axes, path: PathInfo, look: Look, largest: float, upto: int | None = None) -> None:
    """One path, up to a point: line, dots by distance off the plane, ring around the end."""
    stop = len(path.x) if upto is None else upto
    there = np.arange(len(path.x)) < stop
    kept, others = path.accepted & there, ~path.accepted & there
    axes.scatter(path.x[others], path.y[others], s=2, color=look.colour, alpha=0.25, linewidths=0, zorder=2)
    axes.plot(path.x[kept], path.y[kept], color=look.colour, linestyle=look.line, linewidth=1.0, zorder=3)
    sizes = np.square(_diameters(path.off[kept], largest))
    axes.scatter(path.x[kept], path.y[kept], s=sizes, color=look.colour, marker=look.marker, linewidths=0, zorder=4)
    if there[path.end]:
        size = float(_diameters(path.off[[path.end]], largest)[0]) + 4
        axes.plot(
            [path.x[path.end]], [path.y[path.end]], marker="o", markersize=size, markerfacecolor="none",
            markeredgecolor=look.colour, markeredgewidth=1.2, zorder=5,
        )  # fmt: skip


def draw_background(axes: Axes, info: TrajectoriesInfo) -> None:
    """The surface in grey, or a grid of lines."""
    if info.surface is None or info.surface.y is None:
        axes.grid(color="0.92", linewidth=0.5)
        axes.set_axisbelow(True)
        return
    shown = info.surface.chosen(info.value)
    mesh = cells(axes, info.surface.x, info.surface.y, shown.z, "Greys")
    axes.patch.set(hatch=None, facecolor="white")
    if mesh is not None:
        mesh.set_alpha(0.75)
        colour_bar(axes, mesh, shown.text.label)


def path_limits(info: TrajectoriesInfo) -> list[tuple[float, float]]:
    """Range of each axis: the paths', and the surface's."""
    limits = []
    for axis in ("x", "y"):
        ends = np.concatenate([getattr(path, axis)[path.accepted] for path in info.paths])
        low, high = float(ends.min()), float(ends.max())
        margin = 0.03 * (high - low) or 0.01
        low, high = low - margin, high + margin
        if info.surface is not None and info.surface.y is not None:
            border = edges(getattr(info.surface, axis))
            low, high = min(low, float(border[0])), max(high, float(border[-1]))
        limits.append((low, high))
    return limits


def dress_paths(axes: Axes, info: TrajectoriesInfo, limits: list[tuple[float, float]]) -> None:
    """Axes in percent, with labels and limits."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    axes.set_xlabel(info.x_label)
    axes.set_ylabel(info.y_label)


def path_handles(info: TrajectoriesInfo, found: dict[str, Look]) -> list[Any]:
    """Entries of the legend: methods, start, end, sizes of dots."""
    plain: dict[str, Any] = {"linewidth": 1.0, "markersize": 4}
    handles: list[Any] = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, label=label, **plain)
        for label, look in found.items()
    ]
    none: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black"}
    handles.append(Line2D([], [], marker="P", markerfacecolor="white", markersize=5, label="start", **none))
    handles.append(Line2D([], [], marker="o", markerfacecolor="none", markersize=7, label="best of a search", **none))
    for share in (0.0, 1.0):
        off = share * info.largest_off
        size = float(_diameters(np.array([off]), info.largest_off)[0])
        words = "in the plane" if share == 0 else f"{percent(float(f'{off:.2g}')).lstrip('+')} off the plane"
        handles.append(Line2D([], [], marker="o", color="0.4", linestyle="none", markersize=size, label=words))
    return handles


def _diameters(off: FloatArray, largest: float) -> FloatArray:
    share = off / largest if largest > 0 else np.zeros(len(off))
    diameters: FloatArray = _SMALLEST + (_LARGEST - _SMALLEST) * np.clip(share, 0, 1)
    return diameters
