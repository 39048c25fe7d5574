"""Gradient reliability, for print."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.plots.info.reliability import ReliabilityInfo
from landscape.plots.info.words import percent
from landscape.plots.paper.axes import legend_above, true_minus
from landscape.plots.style import AMBER, BLUE, GREEN, GREY, ORANGE, PAGE_WIDTH, PURPLE, new_figure, paper_style

ESTIMATOR_COLOURS = {
    "straight-through": BLUE,
    "frozen-weights": GREEN,
    "almost-everywhere": PURPLE,
    "random": GREY,
}


def colour_of(estimator: str) -> str:
    """Colour of a gradient estimate, in all pictures the same."""
    return ESTIMATOR_COLOURS.get(estimator, AMBER)


def draw_reliability(info: ReliabilityInfo, *, width: float | None = None) -> Figure:
    """Draw agreement with real changes by step (cosine and signs), and the loss along steps against each gradient.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    with paper_style():
        figure = new_figure(width, 0.45 * width, info.title, info.subtitle)
        cosines, signs, falls = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
        _draw_cosines(cosines, info)
        _draw_signs(signs, info)
        _draw_descents(falls, info)
        for axes in (cosines, signs, falls):
            axes.set_xscale("log")
            axes.set_xlabel(info.step_label.replace(" (", "\n("))
            axes.xaxis.set_major_locator(LogLocator(10, numticks=5))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: percent(step).lstrip("+")))
        figure.draw_without_rendering()
    return figure


def _draw_cosines(axes: Axes, info: ReliabilityInfo) -> None:
    axes.axhline(0, color="0.6", linewidth=0.6, linestyle=":")
    for curve in info.curves:
        words = f"{curve.estimator}: zero" if curve.is_zero else curve.estimator
        colour = colour_of(curve.estimator)
        axes.errorbar(
            curve.step, curve.cosine, [curve.cosine - curve.low, curve.high - curve.cosine], color=colour, marker="o",
            markersize=3, capsize=2, linewidth=0.9, label=words,
        )  # fmt: skip
    axes.plot(
        info.replication_step, info.replication, color="black", linestyle="--", linewidth=0.8, marker=".",
        label="two halves of the images",
    )  # fmt: skip
    axes.set_ylim(-1.05, 1.05)
    axes.set_ylabel("cosine with finite differences")
    legend_above(axes)


def _draw_signs(axes: Axes, info: ReliabilityInfo) -> None:
    axes.axhline(50, color="0.6", linewidth=0.6, linestyle=":")
    for curve in info.curves:
        if not curve.is_zero:
            axes.plot(curve.step, 100 * curve.signs, color=colour_of(curve.estimator), marker="o", markersize=3,
                      label=f"same sign: {curve.estimator}")  # fmt: skip
    axes.plot(info.replication_step, info.flipped, color=GREY, linestyle="-.", marker=".", label="codes flipped")
    axes.annotate("chance", (1, 50), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points", size=6,
                  color=GREY, ha="right")  # fmt: skip
    axes.set_ylim(0, 103)
    axes.set_ylabel("share of slopes, of codes (%)")
    legend_above(axes)


def _draw_descents(axes: Axes, info: ReliabilityInfo) -> None:
    axes.axhline(0, color="0.6", linewidth=0.6, linestyle=":")
    for fall in info.descents:
        colour = colour_of(fall.estimator)
        line = "-" if fall.images == "calibration" else "--"
        axes.fill_between(fall.steps, fall.low, fall.high, color=colour, alpha=0.1, linewidth=0)
        label = f"{fall.estimator}, {fall.images} images"
        axes.plot(fall.steps, fall.change, color=colour, linestyle=line, marker=".", markersize=3, label=label)
    if np.isfinite(info.nearest_flip):
        axes.axvline(info.nearest_flip, color=ORANGE, linewidth=0.7, linestyle=":", label="first code flip (random)")
    axes.set_ylabel(info.text.change_label)
    _magnify_falls(axes, info)
    legend_above(axes)


def _magnify_falls(axes: Axes, info: ReliabilityInfo) -> None:
    """Where large steps do far more harm than any does good, make the axis logarithmic beyond the gains, and say so."""
    changes = np.array([change for fall in info.descents for change in fall.change if math.isfinite(change)])
    gain = -float(changes.min(initial=0.0))
    if gain == 0.0 or changes.max() < 10 * gain:
        return
    near = 10.0 ** math.ceil(math.log10(gain))
    axes.set_yscale("symlog", linthresh=near, linscale=1.5)
    ticks = [-near, -near / 2, 0.0, near / 2, near, 10 * near, 100 * near]
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: true_minus(number, "g")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(f"{info.text.change_label}\nlogarithmic beyond {near:g}")
