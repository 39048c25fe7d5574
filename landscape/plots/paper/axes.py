"""Parts that printed pictures share: axes in percent, cells around points, letters, marks, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.bootstrap import FloatArray
from landscape.plots.info.surface import few_levels
from landscape.plots.info.words import MINUS, percent

NO_VALUE: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "0.6", "hatch": "/////"}
"""Look of points without a finite value."""

PERCENT = FuncFormatter(lambda coordinate, _: percent(coordinate))


def edges(centres: FloatArray) -> FloatArray:
    """Borders of cells centred on the coordinates (halfway between neighbours); a lone point gets +-0.5%."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.005, centres[0] + 0.005])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def colour_range(low: float, high: float) -> tuple[float, float]:
    """Ends of a colour bar; a constant surface gets 1% around its value, so that its bar can be read."""
    margin = (0.01 * abs(low) or 0.01) if low == high else 0.0
    return low - margin, high + margin


def dress_plane(axes: Axes, x: FloatArray, y: FloatArray, x_label: str, y_label: str | None, ticks: int = 5) -> None:
    """Square axes in percent with the grid's cells as their borders."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PERCENT)
        axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    axes.set_xlabel(x_label)
    if y_label is not None:
        axes.set_ylabel(y_label)
    axes.set_box_aspect(1)
    axes.set_xlim(*edges(x)[[0, -1]])
    axes.set_ylim(*edges(y)[[0, -1]])


def dress_line(axes: Axes, x: FloatArray, x_label: str | None) -> None:
    """A first axis in percent, over the cells of the points."""
    axes.xaxis.set_major_formatter(PERCENT)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlim(*edges(x)[[0, -1]])
    if x_label is not None:
        axes.set_xlabel(x_label)


def cells(
    axes: Axes, x: FloatArray, y: FloatArray, z: FloatArray, colours: str, limits: tuple[float, float] | None = None
) -> QuadMesh | None:
    """Cells centred on the points; z has shape (n, m), at (x[i], y[j]). None if no value is finite."""
    axes.patch.set(**NO_VALUE)
    shown = np.ma.masked_invalid(z.T)
    if not shown.count():
        say_empty(axes)
        return None
    low, high = limits or colour_range(float(shown.min()), float(shown.max()))
    return axes.pcolormesh(edges(x), edges(y), shown, cmap=colours, vmin=low, vmax=high, rasterized=True)


def contours(axes: Axes, x: FloatArray, y: FloatArray, z: FloatArray, count: int = 7) -> None:
    """Thin lines of equal value, where there are any and the value has levels enough (`few_levels`)."""
    shown = np.ma.masked_invalid(z.T)
    if shown.count() and not few_levels(z) and shown.max() > shown.min() and min(shown.shape) > 1:
        levels = MaxNLocator(count).tick_values(float(shown.min()), float(shown.max()))
        axes.contour(x, y, shown, levels=levels, colors="black", linewidths=0.35, alpha=0.5)


def colour_bar(axes: Axes, drawn: ScalarMappable, label: str) -> None:
    """A bar beside the axes, as high as they are, its minus signs true ones."""
    beside = axes.inset_axes((1.03, 0, 0.05, 1))
    axes.figure.colorbar(drawn, cax=beside, label=label)


def letter(axes: Axes, mark: str, words: str = "") -> None:
    """A bold letter and a title above the left end of a panel, as papers refer to them."""
    axes.set_title(words, loc="left", fontsize=7.5, pad=4)
    title = axes.title if not words else axes._left_title  # type: ignore[attr-defined]
    title.set_text(f"{mark}  {words}" if words else mark)


def say_empty(axes: Axes, words: str = "no finite value") -> None:
    """Words in place of a picture."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center")


def legend_above(axes: Axes, handles: Sequence[Any] | None = None, columns: int = 1, **changes: Any) -> None:
    """A legend without frame above the axes, from their left end."""
    if handles is None:
        handles = axes.get_legend_handles_labels()[0]
    if handles:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": columns}
        spaces = {"handlelength": 1.5, "columnspacing": 1.0, "borderaxespad": 0.2, "labelspacing": 0.3}
        axes.legend(handles=list(handles), frameon=False, **{**place, **spaces, **changes})


def true_minus(number: float, form: str) -> str:
    """A number in a format, with a true minus sign."""
    return format(number, form).replace("-", MINUS)
