"""Spectra of the curvature, and fits of models, for print."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.curvature.records import Curvature
from landscape.plots.info.curvature import FitInfo, SpectrumInfo, operator_words
from landscape.plots.info.words import percent
from landscape.plots.paper.axes import legend_above, true_minus
from landscape.plots.style import BLUE, COLUMN_WIDTH, GREEN, GREY, ORANGE, PAGE_WIDTH, PURPLE, new_figure, paper_style

KIND_COLOURS = {"hessian": BLUE, "ggn": ORANGE, "fisher": GREEN}
MODEL_LINES = {"quadratic": "-", "surrogate": "--", "float-weights": "-."}
MODEL_COLOURS = {"quadratic": BLUE, "surrogate": ORANGE, "float-weights": GREEN}
LOWEST_SCORE = -1.0
"""R^2 below which a model is useless whatever the number, so that the picture ends there."""


def draw_spectrum(info: SpectrumInfo, *, width: float | None = None) -> Figure:
    """Draw the spectral density of each operator, and its outer eigenvalues as ticks; panels by network and space.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    count = len(info.panels)
    width = width or (PAGE_WIDTH if count > 1 else COLUMN_WIDTH)
    with paper_style():
        figure = new_figure(width, 2.8, info.title, info.subtitle)
        for axes, (name, group) in zip(figure.subplots(1, count, squeeze=False)[0], info.panels, strict=True):
            _draw_densities(axes, group)
            unit = _power_of_ten(axes, group)
            label = info.x_label.replace("(", f"({unit} ") if unit else info.x_label
            axes.set_xlabel(label if count < 3 else label.replace(" (", "\n("))
            axes.annotate(name, (0, 1), (0, 4 + 17 * len(group)), xycoords="axes fraction", va="bottom", weight="bold",
                          textcoords="offset points")  # fmt: skip
        figure.axes[0].set_ylabel(info.y_label)
        figure.draw_without_rendering()
    return figure


def _draw_densities(axes: Axes, group: tuple[Curvature, ...]) -> None:
    handles = []
    peak = _peak(group)
    for row, each in enumerate(group):
        colour = KIND_COLOURS.get(each.kind, PURPLE)
        if each.density is not None:
            density = np.maximum(each.density.density, 1e-12)
            axes.plot(each.density.grid, density, color=colour)
        ends = [*each.largest, *each.smallest]
        axes.plot(ends, np.full(len(ends), peak * 10 ** (-4.35 - 0.35 * row)), "|", color=colour, markersize=5)
        handles.append(Line2D([], [], color=colour, label=operator_words(each).replace(": ", ":\n", 1)))
    axes.axvline(0, color="0.8", linewidth=0.6, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(*density_limits(group))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    legend_above(axes, handles)


def _peak(group: tuple[Curvature, ...]) -> float:
    return max((max(each.density.density) for each in group if each.density), default=1.0)


def density_limits(group: tuple[Curvature, ...]) -> tuple[float, float]:
    """Ends of the axis of densities, with room for the ticks of the eigenvalues below."""
    peak = _peak(group)
    return peak * 10 ** (-4.6 - 0.35 * len(group)), peak * 3


def _power_of_ten(axes: Axes, group: tuple[Curvature, ...]) -> str:
    """Write the first axis in a power of ten where its numbers are small or large; the power, for the label."""
    largest = max((abs(end) for each in group for end in (*each.largest, *each.smallest)), default=1.0)
    power = math.floor(math.log10(largest)) if 0 < largest < math.inf else 0
    if -2 <= power <= 3:
        return ""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: true_minus(number / 10.0**power, ".4g")))
    return f"10$^{{{power}}}$"


def draw_fit(info: FitInfo, *, width: float | None = None) -> Figure:
    """Draw R^2 of each model by radius with its interval; beside it, the changes of the loss, real and predicted.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    with paper_style():
        figure = new_figure(width, 0.36 * width, info.title, info.subtitle)
        scores, changes = figure.subplots(1, 2)
        _draw_scores(scores, info)
        _draw_changes(changes, info)
        for axes in (scores, changes):
            axes.set_xscale("log")
            axes.set_xlabel(info.x_label)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda radius, _: percent(radius).lstrip("+")))
        figure.draw_without_rendering()
    return figure


def _draw_scores(axes: Axes, info: FitInfo) -> None:
    for number, fit in enumerate(info.fits):
        colour = MODEL_COLOURS.get(fit.model, PURPLE)
        radii, low, high, r2 = (np.array(each, dtype=float) for each in (fit.radii, fit.low, fit.high, fit.r2))
        radii = radii * 1.07 ** (number - (len(info.fits) - 1) / 2)  # beside one another, so that intervals show
        axes.vlines(radii, np.maximum(low, LOWEST_SCORE), np.maximum(high, LOWEST_SCORE), color=colour, alpha=0.6,
                    linewidth=0.9)  # fmt: skip
        inside = r2 >= LOWEST_SCORE
        shown = np.where(inside, r2, np.nan)
        axes.plot(
            radii,
            shown,
            color=colour,
            ls=MODEL_LINES.get(fit.model, ":"),
            marker="o",
            markersize=3,
            label=f"{fit.model}{_holds(fit)}",
        )
        axes.plot(radii[~inside], np.full((~inside).sum(), LOWEST_SCORE + 0.06), "v", color=colour, markersize=3.5)
    for level in (0.0, 1.0):
        axes.axhline(level, color="0.6", linewidth=0.6, linestyle=":")
    axes.set_ylim(LOWEST_SCORE, 1.08)
    axes.set_ylabel("R$^2$ within the radius")
    legend_above(axes)


def _holds(fit: object) -> str:
    first, last = getattr(fit, "holds_from", None), getattr(fit, "valid_radius", None)
    level = getattr(fit, "level", 0.5)
    if first is None or last is None:
        return f": R\N{SUPERSCRIPT TWO} of {level:g} at no radius"
    ends = [percent(float(f"{end:.2g}")).lstrip("+") for end in (first, last)]
    return f": R\N{SUPERSCRIPT TWO} of {level:g} or more from {ends[0]} to {ends[1]}"


def _draw_changes(axes: Axes, info: FitInfo) -> None:
    first = info.fits[0]
    axes.plot(first.radii, first.real_change, color="black", marker="s", markersize=3, label="real surface")
    for fit in info.fits:
        colour = MODEL_COLOURS.get(fit.model, PURPLE)
        look: dict[str, Any] = {
            "color": colour,
            "linestyle": MODEL_LINES.get(fit.model, ":"),
            "marker": "o",
            "markersize": 2.5,
        }
        axes.plot(fit.radii, fit.predicted_change, label=f"{fit.model} predicts", **look)
    axes.set_yscale("log")
    axes.set_ylabel(f"RMS change of {info.text.short} ({info.text.unit})")
    axes.grid(color="0.93", linewidth=0.5)
    axes.set_axisbelow(True)
    legend_above(axes, columns=2)
    axes.tick_params(axis="y", which="minor", labelleft=False, color=GREY)
