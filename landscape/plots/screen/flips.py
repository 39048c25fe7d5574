"""Code flips, for the screen."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.flips import FlipsInfo
from landscape.plots.screen.dress import TICKS, dress, faint, plain, plain_grid
from landscape.plots.screen.surface import hover_texts
from landscape.plots.style import BLUE, GREY


def draw_flips_interactive(info: FlipsInfo) -> go.Figure:
    """The flip rate over the surface, and the change of the loss against it."""
    surface, flips, text = info.surface, info.surface.values["flip_rate"], info.surface.values[info.name].text
    titles = ["codes that differ from the centre's", "change from the centre at every point"]
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.2)
    words = hover_texts(surface, flips)
    template = {"hovertemplate": "%{text}<extra></extra>"}
    if surface.y is None:
        curve = go.Scatter(x=plain(surface.x), y=plain(flips.z), text=words, line_color=GREY, **template)
        figure.add_trace(curve, row=1, col=1)
        figure.update_yaxes(title_text=flips.text.label, rangemode="tozero", row=1, col=1)
    else:
        bar = {"x": 0.4, "thickness": 12, "title": {"text": flips.text.label, "side": "right"}}
        hover = np.array(words, dtype=object).reshape(flips.z.shape).T.tolist()
        figure.add_trace(
            go.Heatmap(x=plain(surface.x), y=plain(surface.y), z=plain_grid(flips.z), text=hover, colorbar=bar,
                       colorscale="Magma_r", hoverongaps=False, **template),
            row=1, col=1,
        )  # fmt: skip
        figure.update_yaxes(title_text=surface.y_label, tickformat=TICKS, showgrid=False, row=1, col=1)
    figure.update_xaxes(title_text=surface.x_label, tickformat=TICKS, showgrid=surface.y is None, row=1, col=1)
    figure.add_trace(_scatter(info), row=1, col=2)
    figure.update_xaxes(title_text=flips.text.label, row=1, col=2)
    figure.update_yaxes(title_text=text.change_label, row=1, col=2)
    dress(figure, info.title, info.subtitle, 520, width=1040)
    figure.update_layout(showlegend=False)
    return figure


def _scatter(info: FlipsInfo) -> go.Scatter:
    bars = None
    if info.low is not None and info.high is not None:
        up, down = plain(info.high - info.change), plain(info.change - info.low)
        bars = {"array": up, "arrayminus": down, "color": faint(BLUE, 0.25), "thickness": 1, "width": 0}
    decimals = info.surface.values[info.name].text.decimals
    return go.Scatter(
        x=plain(info.flips), y=plain(info.change), mode="markers", marker={"color": BLUE, "size": 5}, error_y=bars,
        hovertemplate=f"%{{x:.2f}}% of codes<br>change %{{y:+.{decimals}f}}<extra></extra>",
    )  # fmt: skip
