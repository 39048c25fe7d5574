"""A grid as a surface in three dimensions, for print, over a map of its contours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo, ValueInfo
from landscape.plots.paper.axes import PERCENT, colour_range, say_empty
from landscape.plots.style import COLUMN_WIDTH, LOSS_COLOURS, ORANGE, SCORE_COLOURS, new_figure, paper_style

_ROOM_BELOW = 0.45
"""Distance of the map from the surface, as a share of the surface's height."""


def draw_surface_3d(
    info: SurfaceInfo,
    value: str = "loss",
    *,
    width: float | None = None,
    elevation: float = 28.0,
    azimuth: float = -55.0,
) -> Figure:
    """Draw one value of a grid as a surface, its contours on the floor, centre and best point marked.

    Args:
        info: The record of the surface.
        value: Name of the value.
        width: Inches; by default a column.
        elevation: Of the eye above the plane, in degrees.
        azimuth: Of the eye around it, in degrees.

    Raises:
        UserError: If the record has no such value, or is a line.
    """
    shown = info.chosen(value)
    if info.y is None:
        raise UserError("a surface in 3D needs a grid, and this run is a line; take --kind line")
    width = width or COLUMN_WIDTH
    with paper_style():
        body = 0.8 * width
        figure = new_figure(width, body, info.title, info.subtitle)
        figure.set_layout_engine("none")  # which knows nothing of what lies around axes in 3D
        share = body / figure.get_figheight()
        axes: Any = figure.add_axes((-0.1, 0.02, 1.02, share), projection="3d", computed_zorder=False)
        z = np.ma.masked_invalid(shown.z)
        if z.count() and min(z.shape) > 1:
            _draw(axes, info, shown, z)
        else:
            axes.set_axis_off()
            say_empty(figure.add_subplot(), "no surface: fewer than two finite values along an axis")
        axes.view_init(elevation, azimuth)
        figure.draw_without_rendering()
    return figure


def _draw(axes: Any, info: SurfaceInfo, shown: ValueInfo, z: np.ma.MaskedArray[Any, Any]) -> None:
    low, high = colour_range(float(z.min()), float(z.max()))
    floor = low - _ROOM_BELOW * (high - low)
    colours = SCORE_COLOURS if shown.name == "top1" else LOSS_COLOURS
    x, y = np.meshgrid(info.x, info.y if info.y is not None else [0.0], indexing="ij")
    axes.contourf(x, y, z, zdir="z", offset=floor, cmap=colours, vmin=low, vmax=high, levels=14, alpha=0.9, zorder=0)
    look = {"cmap": colours, "vmin": low, "vmax": high, "rstride": 1, "cstride": 1, "antialiased": True}
    axes.plot_surface(
        x, y, z.filled(np.nan), linewidth=0.08, edgecolor=(0, 0, 0, 0.35), rasterized=True, zorder=2, **look
    )
    _mark(axes, info, shown, floor)
    _dress(axes, info, shown)
    axes.set_zlim(floor, high)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_zticks([tick for tick in ticks if low <= tick <= high])


def _mark(axes: Any, info: SurfaceInfo, shown: ValueInfo, floor: float) -> None:
    marks: list[tuple[float, float, float, dict[str, Any]]] = []
    if np.isfinite(shown.centre):
        look = {"marker": "P", "color": "white", "markersize": 4.5, "label": f"centre: {shown.write(shown.centre)}"}
        marks.append((0.0, 0.0, shown.centre, look))
    if shown.best is not None and shown.best.beta is not None:
        best = float(shown.z[shown.best.index])
        look = {"marker": "*", "color": ORANGE, "markersize": 8, "label": f"best: {shown.write(best)}"}
        marks.append((shown.best.alpha, shown.best.beta, best, look))
    for x, y, z, look in marks:
        axes.plot([x, x], [y, y], [floor, z], color="black", linewidth=0.5, linestyle=":", zorder=4)
        edge = {"linestyle": "none", "markeredgecolor": "black", "markeredgewidth": 0.5}
        axes.plot([x], [y], [z], zorder=5, **edge, **look)
    axes.legend(loc="upper left", bbox_to_anchor=(0.06, 1.0), frameon=False, ncols=2, columnspacing=1.0)


def _dress(axes: Any, info: SurfaceInfo, shown: ValueInfo) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_facecolor("white")
        axis.pane.set_edgecolor("0.7")
        axis._axinfo["grid"].update(color="0.88", linewidth=0.4)
    axes.tick_params(pad=-2, labelsize=6)
    axes.zaxis.set_tick_params(pad=1)
    axes.set_xlabel("d1 (RMS change)", labelpad=-6, fontsize=6.5)
    axes.set_ylabel("d2 (RMS change)", labelpad=-6, fontsize=6.5)
    axes.set_zlabel(shown.text.label, labelpad=3, fontsize=6.5)
    axes.set_box_aspect((1, 1, 0.8), zoom=1.05)
