"""A search as a film for the screen, with a slider over the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.info.trajectories import TrajectoriesInfo
from landscape.plots.methods import looks
from landscape.plots.paper.animation import frame_costs
from landscape.plots.screen.dress import escaped
from landscape.plots.screen.trajectories import background, draw_trajectories_interactive, path_traces

_MILLISECONDS = 200


def draw_animation_interactive(info: TrajectoriesInfo, frames: int = 40) -> go.Figure:
    """The interactive picture of the paths, with buttons to play and to stop and a slider over the budget."""
    figure = draw_trajectories_interactive(info)
    found = looks(info.labels)
    first = len(background(info))
    films, steps = [], []
    for cost in frame_costs(info, frames):
        traces: list[Any] = []
        for path in info.paths:
            upto = int(np.searchsorted(path.cost, cost, side="right"))
            traces += path_traces(info, path, found[path.label], upto)
        name = f"{cost:,.0f}"
        films.append(go.Frame(name=name, data=traces, traces=list(range(first, first + len(traces)))))
        steps.append({"label": name, "method": "animate", "args": [[name], _timing(0)]})
    figure.frames = films
    for trace, full in zip(figure.data[first:], films[-1].data, strict=False):
        trace.update(x=full.x, y=full.y)
    play = {"label": "play", "method": "animate", "args": [None, {**_timing(_MILLISECONDS), "fromcurrent": True}]}
    stop = {"label": "stop", "method": "animate", "args": [[None], _timing(0)]}
    menu = {"type": "buttons", "direction": "left", "buttons": [play, stop], "showactive": False,
            "x": 0, "xanchor": "left", "y": -0.28, "yanchor": "top"}  # fmt: skip
    current = {"prefix": "budget: ", "suffix": f" images; {escaped(info.loss.short)} is searched for"}
    slider = {"steps": steps, "active": len(steps) - 1, "x": 0.2, "len": 0.8, "y": -0.22, "currentvalue": current}
    figure.update_layout(updatemenus=[menu], sliders=[slider], height=figure.layout.height + 130)
    figure.update_layout(margin_b=190)
    return figure


def _timing(milliseconds: int) -> dict[str, Any]:
    return {
        "frame": {"duration": milliseconds, "redraw": False},
        "transition": {"duration": 0},
        "mode": "immediate",
    }
