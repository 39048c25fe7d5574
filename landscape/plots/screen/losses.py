"""Several losses of one surface side by side, for the screen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.losses import LossesInfo
from landscape.plots.info.surface import ValueInfo
from landscape.plots.screen.dress import GAP, TICKS, dress, escaped, plain, plain_grid
from landscape.plots.screen.surface import band, hover_texts
from landscape.plots.style import BLUE, GREY

_COLUMNS = 3


def draw_losses_interactive(info: LossesInfo) -> go.Figure:
    """A panel for each loss, three in a row; zooming one zooms all, pointing at a point shows its numbers."""
    surface = info.surface
    names = list(surface.values)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    titles = [_title(info, name) for name in names]
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all" if surface.y is not None else False,
        subplot_titles=titles, horizontal_spacing=0.12, vertical_spacing=0.3 / rows,
    )  # fmt: skip
    for number, name in enumerate(names):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        for trace in _traces(info, surface.values[name], number, columns, rows):
            figure.add_trace(trace, **place)
        if surface.y is None:
            figure.update_yaxes(title_text=surface.values[name].text.label, title_font_size=11, **place)
    figure.update_xaxes(tickformat=TICKS, showgrid=surface.y is None, zeroline=False)
    figure.update_xaxes(title_text=surface.x_label, title_font_size=11, row=rows)
    if surface.y is not None:
        figure.update_yaxes(tickformat=TICKS, showgrid=False, zeroline=False)
        figure.update_yaxes(title_text=surface.y_label, title_font_size=11, col=1)
    figure.update_annotations(font_size=12)
    dress(figure, info.title, info.subtitle, 90 + 300 * rows, width=1080)
    figure.update_layout(
        plot_bgcolor=GAP if surface.y is not None else "white",
        margin_t=figure.layout.margin.t + 30,
        height=figure.layout.height + 30,
    )
    return figure


def _title(info: LossesInfo, name: str) -> str:
    words = info.words(name).replace("; ", "<br>")
    return f"<b>{escaped(info.surface.values[name].text.short)}</b><br><span style='color: {GREY}'>{words}</span>"


def _traces(info: LossesInfo, shown: ValueInfo, number: int, columns: int, rows: int) -> list[Any]:
    surface = info.surface
    text = hover_texts(surface, shown)
    if surface.y is None:
        x, y = band(surface.x, shown)
        around = go.Scatter(x=x, y=y, fill="toself", mode="lines", line_width=0, hoverinfo="skip", showlegend=False,
                            fillcolor="rgba(0, 114, 178, 0.2)")  # fmt: skip
        curve = go.Scatter(x=plain(surface.x), y=plain(shown.z), mode="lines+markers", marker_size=4, line_color=BLUE,
                           text=text, hovertemplate="%{text}<extra></extra>", showlegend=False)  # fmt: skip
        return [around, curve] if x else [curve]
    row, column = divmod(number, columns)
    bar = {
        "len": 0.62 / rows,
        "thickness": 10,
        "x": (column + 1) / columns - (0.075 if columns > 1 else 0) * (1 - column / max(columns - 1, 1)) + 0.005,
        "y": 1 - (row + 0.42) / rows,
        "tickfont": {"size": 10},
    }
    hover = np.array(text, dtype=object).reshape(shown.z.shape).T.tolist()
    colours = "Cividis" if shown.name == "top1" else "Viridis"
    x, y, z = plain(surface.x), plain(surface.y), plain_grid(shown.z)
    look = {"colorbar": bar, "colorscale": colours, "hovertemplate": "%{text}<extra></extra>", "hoverongaps": False}
    return [go.Heatmap(x=x, y=y, z=z, text=hover, **look)]
