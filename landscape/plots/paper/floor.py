"""The noise floor, for print: the surface, what its images add, and what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.bootstrap import FloatArray
from landscape.plots.info.floor import FloorInfo
from landscape.plots.info.words import percent
from landscape.plots.paper.axes import cells, colour_bar, dress_line, dress_plane, legend_above
from landscape.plots.style import (
    AMBER,
    BLUE,
    COLUMN_WIDTH,
    GREY,
    ORANGE,
    PAGE_WIDTH,
    SIGNED_COLOURS,
    new_figure,
    paper_style,
)


def draw_floor(info: FloorInfo, *, width: float | None = None) -> Figure:
    """Draw the noise-floor view.

    A grid: the measured surface, half the difference of two halves of the images (as large as the noise in the
    first), and the part that replicates, all in the same colours; then the share of the power that replicates by
    wavelength. A line: the curves of the two halves with the part that replicates; their half difference; the share.

    Args:
        info: The record.
        width: Inches; by default a page for a grid, a column for a line.
    """
    with paper_style():
        figure = _draw_line(info, width) if info.y is None else _draw_grid(info, info.y, width)
        figure.draw_without_rendering()
    return figure


def _draw_grid(info: FloorInfo, y: FloatArray, width: float | None) -> Figure:
    width = width or PAGE_WIDTH
    figure = new_figure(width, 0.8 * width, info.title, f"{info.subtitle}; {info.words}")
    panels = figure.subplots(2, 2)
    maps = [
        (info.measured, f"a  measured on {info.images:,} images"),
        (info.noise, "b  noise: half the difference of two halves"),
        (info.replicating, "c  part that replicates (estimate)"),
    ]
    for axes, (z, words) in zip(panels.ravel()[:3], maps, strict=True):
        mesh = cells(axes, info.x, y, z, SIGNED_COLOURS, (-info.limit, info.limit))
        if mesh is not None:
            colour_bar(axes, mesh, f"{info.text.short}, minus its mean{_unit(info)}")
        dress_plane(axes, info.x, y, info.x_label, info.y_label)
        axes.set_title(words, loc="left")
    if not info.replicating.any():
        axes.text(
            0.5, 0.5, "no wavelength of which a share\nis seen to replicate", transform=axes.transAxes, ha="center"
        )
    _draw_share(panels[1, 1], info, "d  share of the power that replicates")
    panels[1, 1].set_box_aspect(1)
    return figure


def _draw_line(info: FloorInfo, width: float | None) -> Figure:
    width = width or COLUMN_WIDTH
    figure = new_figure(width, 1.4 * width, info.title, f"{info.subtitle}; {info.words}")
    curves, noise, share = figure.subplots(3, 1, height_ratios=[3, 2, 2])
    noise.sharex(curves)
    curves.plot(info.x, info.first, color=BLUE, linewidth=0.7, label=f"{info.images // 2:,} of the images")
    curves.plot(info.x, info.second, color=AMBER, linewidth=0.7, label="as many others")
    curves.plot(info.x, info.measured, color=GREY, linewidth=0.7, linestyle="--", label="all images")
    curves.plot(info.x, info.replicating, color=ORANGE, linewidth=1.5, label="replicates (estimate)")
    curves.set_ylabel(f"{info.text.short}, minus\nits mean{_unit(info)}")
    curves.tick_params(labelbottom=False)
    legend_above(curves, columns=2)
    noise.axhline(0, color="0.8", linewidth=0.6)
    noise.plot(info.x, info.noise, color=GREY)
    height = 1.1 * max(float(np.abs(each).max()) for each in (info.first, info.second, info.noise)) or 1.0
    curves.set_ylim(-height, height)
    noise.set_ylim(-height, height)
    noise.set_ylabel("noise: half\nthe difference")
    dress_line(noise, info.x, info.x_label)
    _draw_share(share, info, "")
    figure.align_ylabels([curves, noise, share])
    return figure


def _draw_share(axes: Axes, info: FloorInfo, title: str) -> None:
    """Points with standard errors; what lies far below zero is cut off, for there it says no more than zero does."""
    bands = info.bands
    axes.axhspan(-0.6, 0, color="0.93", linewidth=0)
    for level, words in ((-0.58, "all noise"), (1.0, "all real")):
        axes.axhline(max(level, 0.0), color="0.6", linewidth=0.6, linestyle=":")
        axes.annotate(words, (1, level), (-3, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", size=6, color=GREY)  # fmt: skip
    inside = bands.share > -0.55
    look: dict[str, Any] = {"color": BLUE, "markersize": 3, "linestyle": "none"}
    axes.errorbar(
        bands.wavelength[inside], bands.share[inside], np.minimum(bands.share_error[inside], 9), marker="o", capsize=2,
        elinewidth=0.8, **look,
    )  # fmt: skip
    axes.plot(bands.wavelength[~inside], np.full((~inside).sum(), -0.52), marker="v", **look)
    axes.set_ylim(-0.6, 1.25)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(bands.wavelength, [percent(float(f"{each:.1g}")).lstrip("+") for each in bands.wavelength])
    axes.minorticks_off()
    axes.set_xlabel("wavelength (change of the scales)")
    axes.set_ylabel("share that replicates")
    axes.set_title(title, loc="left")


def _unit(info: FloorInfo) -> str:
    unit = "points" if info.text.unit == "%" else info.text.unit
    return f" ({unit})" if unit else ""
