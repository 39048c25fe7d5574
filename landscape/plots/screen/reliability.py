"""Gradient reliability, for the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.reliability import ReliabilityInfo
from landscape.plots.paper.reliability import colour_of
from landscape.plots.screen.dress import dress, escaped, faint, plain
from landscape.plots.style import GREY, ORANGE


def draw_reliability_interactive(info: ReliabilityInfo) -> go.Figure:
    """Cosine and signs by step, and the loss along steps against each gradient."""
    figure = make_subplots(1, 3, horizontal_spacing=0.1)
    for curve in info.curves:
        if curve.is_zero:
            continue
        name, colour = escaped(curve.estimator), colour_of(curve.estimator)
        bars = {"array": plain(curve.high - curve.cosine), "arrayminus": plain(curve.cosine - curve.low)}
        cosine = go.Scatter(x=plain(curve.step), y=plain(curve.cosine), error_y=bars, mode="lines+markers", name=name,
                            line_color=colour, legendgroup=name)  # fmt: skip
        signs = go.Scatter(x=plain(curve.step), y=plain(100 * curve.signs), mode="lines+markers", line_color=colour,
                           name=name, legendgroup=name, showlegend=False)  # fmt: skip
        figure.add_trace(cosine, row=1, col=1)
        figure.add_trace(signs, row=1, col=2)
    halves = go.Scatter(x=plain(info.replication_step), y=plain(info.replication), mode="lines+markers",
                        line={"color": "black", "dash": "dash"}, name="two halves of the images")  # fmt: skip
    flipped = go.Scatter(x=plain(info.replication_step), y=plain(info.flipped), mode="lines+markers",
                         line={"color": GREY, "dash": "dashdot"}, name="codes flipped")  # fmt: skip
    figure.add_trace(halves, row=1, col=1)
    figure.add_trace(flipped, row=1, col=2)
    for fall in info.descents:
        name, colour = f"{escaped(fall.estimator)}, {fall.images} images", colour_of(fall.estimator)
        line = {"color": colour, "dash": "solid" if fall.images == "calibration" else "dash"}
        x = [*fall.steps, *fall.steps[::-1]]
        shade = {"fill": "toself", "fillcolor": faint(colour, 0.1), "mode": "lines", "line_width": 0}
        band = go.Scatter(x=x, y=[*fall.low, *fall.high[::-1]], **shade, hoverinfo="skip", showlegend=False)
        curve_of_loss = go.Scatter(x=fall.steps, y=fall.change, mode="lines+markers", line=line, name=name,
                                   legendgroup=name)  # fmt: skip
        figure.add_trace(band, row=1, col=3)
        figure.add_trace(curve_of_loss, row=1, col=3)
    if np.isfinite(info.nearest_flip):
        dotted: dict[str, Any] = {"color": ORANGE, "dash": "dot", "width": 1}
        figure.add_vline(info.nearest_flip, line=dotted, annotation_text="first code flip", row=1, col=3)
    figure.update_xaxes(type="log", tickformat=".2~%", title_text="step (relative change)")
    titles = (
        "cosine with finite differences",
        "share of slopes of the same sign, of codes (%)",
        f"change of {escaped(info.text.short)} ({escaped(info.text.unit)})",
    )
    for column, title in enumerate(titles, 1):
        figure.update_yaxes(title_text=title, row=1, col=column)
    dress(figure, info.title, info.subtitle, 520, width=1120)
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0})
    return figure
