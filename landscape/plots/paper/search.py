"""Searches compared, for print: loss against budget, and the ends of all seeds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.plots.info.search import ConvergenceInfo, MethodsInfo
from landscape.plots.methods import Look, looks
from landscape.plots.paper.axes import colour_range, legend_above
from landscape.plots.style import COLUMN_WIDTH, GREY, PAGE_WIDTH, new_figure, paper_style


def draw_convergence(info: ConvergenceInfo, *, width: float | None = None) -> Figure:
    """Draw the best loss so far against the budget: the mean over seeds, and the range of the seeds as a band.

    Args:
        info: The record.
        width: Inches; by default a column and a half.
    """
    width = width or 1.4 * COLUMN_WIDTH
    found = looks(curve.label for curve in info.curves)
    with paper_style():
        figure = new_figure(width, 0.6 * width + 0.11 * len(info.curves), info.title, info.subtitle)
        axes = figure.subplots()
        for curve in info.curves:
            look, seeds = found[curve.label], len(curve.seeds)
            words = f"{curve.label} ({seeds} seeds)" if seeds > 1 else curve.label
            if seeds > 1:
                axes.fill_between(
                    curve.cost, curve.low, curve.high, step="post", color=look.colour, alpha=0.15, linewidth=0
                )
            axes.step(curve.cost, curve.mean, where="post", color=look.colour, linestyle=look.line, label=words)
            axes.plot(curve.cost[-1:], curve.mean[-1:], color=look.colour, marker=look.marker, markersize=3.5)
        if np.isfinite(info.start):
            axes.axhline(info.start, color=GREY, linewidth=0.6, linestyle=":", label="start")
        axes.set_xlabel(info.x_label)
        axes.set_ylabel(info.y_label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda images, _: f"{images:,.0f}"))
        axes.set_xlim(left=0)
        legend_above(axes, columns=2)
        figure.draw_without_rendering()
    return figure


def draw_methods(info: MethodsInfo, *, width: float | None = None) -> Figure:
    """Draw the end of every search as a dot, the mean over seeds as a bar, the start as a dotted line.

    Args:
        info: The record.
        width: Inches; by default a page.
    """
    width = width or PAGE_WIDTH
    found = looks(info.labels)
    with paper_style():
        figure = new_figure(width, 0.9 + 0.26 * len(info.labels), info.title, info.subtitle)
        panels = figure.subplots(1, len(info.panels), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, info.panels, strict=True):
            _draw_panel(axes, info, name, found)
        panels[0].set_yticks(range(len(info.labels)), [_short(label) for label in info.labels])
        panels[0].set_ylim(len(info.labels) - 0.4, -0.6)
        figure.draw_without_rendering()
    return figure


def _draw_panel(axes: Axes, info: MethodsInfo, name: str, found: dict[str, Look]) -> None:
    axes.axvline(info.starts[name], color=GREY, linewidth=0.7, linestyle=":")
    axes.annotate("start", (info.starts[name], 1), (0, 2), xycoords=("data", "axes fraction"), ha="center", size=6,
                  textcoords="offset points", color=GREY)  # fmt: skip
    for row, (label, ends) in enumerate(zip(info.labels, info.panels[name], strict=True)):
        look = found[label]
        shift = np.linspace(-0.16, 0.16, len(ends)) if len(ends) > 1 else np.zeros(1)
        axes.plot(ends, row + shift, marker=look.marker, linestyle="none", color=look.colour, markersize=4, alpha=0.85)
        axes.plot([ends.mean()] * 2, [row - 0.32, row + 0.32], color=look.colour, linewidth=1.6)
    axes.set_xlabel(name)
    shown = np.concatenate([[info.starts[name]], *info.panels[name]])
    if np.ptp(shown) == 0:
        axes.set_xlim(*colour_range(float(shown[0]), float(shown[0])))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color="0.93", linewidth=0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def _short(label: str) -> str:
    return label.replace(", selected", ",\nselected")
