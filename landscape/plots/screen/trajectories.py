"""Paths of searches on the surface they walked, for the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.info.trajectories import PathInfo, TrajectoriesInfo
from landscape.plots.info.words import percent
from landscape.plots.methods import Look, looks
from landscape.plots.screen.dress import TICKS, dress, escaped, marker, plain, plain_grid

_SMALLEST, _LARGEST = 5.0, 20.0


def draw_trajectories_interactive(info: TrajectoriesInfo) -> go.Figure:
    """The same as in print; pointing at a dot shows cost, loss and distance off the plane, the legend hides methods."""
    figure = go.Figure(background(info))
    found = looks(info.labels)
    for path in info.paths:
        for trace in path_traces(info, path, found[path.label]):
            figure.add_trace(trace)
    figure.add_trace(go.Scatter(x=[0], y=[0], mode="markers", marker=marker("cross", "white"), name="start"))
    figure.update_xaxes(title_text=info.x_label, tickformat=TICKS, zeroline=False)
    figure.update_yaxes(title_text=info.y_label, tickformat=TICKS, zeroline=False)
    dress(figure, info.title, info.subtitle, 760)
    figure.update_layout(legend={"orientation": "h", "y": -0.1, "x": 0})
    return figure


def background(info: TrajectoriesInfo) -> list[Any]:
    """The surface in grey, or nothing."""
    surface = info.surface
    if surface is None or surface.y is None:
        return []
    shown = surface.chosen(info.value)
    bar = {"title": {"text": escaped(shown.text.label), "side": "right"}}
    look = {"colorscale": "Greys", "reversescale": False, "opacity": 0.75, "colorbar": bar, "hoverinfo": "skip"}
    return [go.Heatmap(x=plain(surface.x), y=plain(surface.y), z=plain_grid(shown.z), **look)]


def path_traces(info: TrajectoriesInfo, path: PathInfo, look: Look, upto: int | None = None) -> list[Any]:
    """Path and end of a search, up to a point."""
    stop = len(path.x) if upto is None else upto
    kept = np.flatnonzero(path.accepted & (np.arange(len(path.x)) < stop))
    share = path.off[kept] / info.largest_off if info.largest_off > 0 else np.zeros(len(kept))
    dots = {"size": (_SMALLEST + (_LARGEST - _SMALLEST) * share).tolist(), "symbol": look.screen_marker, "opacity": 0.8}
    line = {"color": look.colour, "dash": look.screen_line, "width": 1.5}
    name = escaped(path.name)
    walked = go.Scatter(
        x=plain(path.x[kept]), y=plain(path.y[kept]), mode="lines+markers", line=line, marker={**dots, "line_width": 0},
        text=[_words(info, path, int(step)) for step in kept], hovertemplate="%{text}<extra></extra>", name=name,
        legendgroup=name,
    )  # fmt: skip
    there = [path.end] if path.end < stop else []
    ring = {"size": 16, "symbol": "circle-open", "color": look.colour, "line": {"width": 2.5}}
    end = go.Scatter(
        x=plain(path.x[there]), y=plain(path.y[there]), mode="markers", marker=ring, showlegend=False, legendgroup=name,
        text=[f"best of the search<br>{_words(info, path, step)}" for step in there],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    return [walked, end]


def _words(info: TrajectoriesInfo, path: PathInfo, step: int) -> str:
    return "<br>".join(
        [
            escaped(path.name),
            f"after {path.cost[step]:,.0f} images: {info.loss.short} {path.value[step]:.{info.loss.decimals}f}",
            f"{percent(float(path.x[step]))}, {percent(float(path.y[step]))}; "
            f"{percent(float(path.off[step])).lstrip('+')} off the plane",
        ]
    )
