"""A search as a film: its paths grow over the surface while the loss falls below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.plots.info.trajectories import PathInfo, TrajectoriesInfo
from landscape.plots.methods import Look, looks
from landscape.plots.paper.axes import legend_above
from landscape.plots.paper.trajectories import draw_background, draw_path, dress_paths, path_handles, path_limits
from landscape.plots.style import GREY, new_figure, paper_style

FRAMES, SECONDS = 40, 8.0
_FILM_DPI = 110


def frame_costs(info: TrajectoriesInfo, frames: int = FRAMES) -> list[float]:
    """Budgets at which a frame is taken, the last one all of it."""
    most = max(float(path.cost[-1]) for path in info.paths)
    return [most * (k + 1) / frames for k in range(frames)]


def draw_frame(info: TrajectoriesInfo, cost: float, width: float = 5.0) -> Figure:
    """One frame: the paths up to a budget, above the loss up to it."""
    figure = new_figure(width, 1.15 * width, info.title, info.subtitle)
    _fill(figure, info, cost)
    return figure


def save_animation(info: TrajectoriesInfo, path: str | Path, frames: int = FRAMES, width: float = 5.0) -> Path:
    """Write a GIF that runs for about eight seconds and stays on the last frame for two.

    Args:
        info: The record.
        path: Of the file.
        frames: Their number.
        width: Inches, at 110 dots an inch.
    """
    costs = frame_costs(info, frames)
    rate = frames / SECONDS
    with paper_style():
        figure = new_figure(width, 1.15 * width, info.title, info.subtitle)
        writer = PillowWriter(fps=max(1, round(rate)))
        with writer.saving(figure, str(path), dpi=_FILM_DPI):
            for cost in [*costs, *costs[-1:] * max(1, round(2 * rate))]:
                for axes in figure.axes:
                    axes.remove()
                _fill(figure, info, cost)
                writer.grab_frame()
    return Path(path)


def _fill(figure: Figure, info: TrajectoriesInfo, cost: float) -> None:
    above, below = figure.subplots(2, 1, height_ratios=[3, 1])
    found = looks(info.labels)
    draw_background(above, info)
    for path in info.paths:
        upto = int(np.searchsorted(path.cost, cost, side="right"))
        draw_path(above, path, found[path.label], info.largest_off, upto)
        _draw_loss(below, path, found[path.label], upto)
    above.plot([0], [0], marker="P", color="white", markeredgecolor="black", markersize=6, zorder=9)
    dress_paths(above, info, path_limits(info))
    legend_above(above, path_handles(info, found), columns=2)
    _dress_losses(below, info, cost)


def _draw_loss(axes: Axes, path: PathInfo, look: Look, upto: int) -> None:
    if upto:
        best = np.fmin.accumulate(path.value[:upto])
        axes.step(path.cost[:upto], best, where="post", color=look.colour, linestyle=look.line)
        axes.plot(path.cost[upto - 1], best[-1], marker=look.marker, markersize=3, color=look.colour)


def _dress_losses(axes: Axes, info: TrajectoriesInfo, cost: float) -> None:
    lows = [float(np.nanmin(path.value)) for path in info.paths]
    highs = [float(np.fmin.accumulate(path.value)[0]) for path in info.paths]
    margin = 0.06 * (max(highs) - min(lows)) or 0.01
    axes.set_ylim(min(lows) - margin, max(highs) + margin)
    axes.set_xlim(0, max(float(path.cost[-1]) for path in info.paths) * 1.02)
    axes.axvline(cost, color=GREY, linewidth=0.5)
    axes.set_xlabel("budget (images through the full network)")
    axes.set_ylabel(f"lowest {info.loss.short}\nso far ({info.loss.unit})")
