"""Roughness of several surfaces, for the screen."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.roughness import RoughnessInfo, RoughnessRow
from landscape.plots.paper.roughness import SERIES_COLOURS
from landscape.plots.screen.dress import dress, escaped, plain


def draw_roughness_interactive(info: RoughnessInfo) -> go.Figure:
    """The measure by place and bit width, and by the number of images; pointing shows all numbers of a surface."""
    figure = make_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.12)
    for number, series in enumerate(info.series):
        colour, name = SERIES_COLOURS[number % len(SERIES_COLOURS)], escaped(series)
        rows = [row for row in info.rows if row.series == series]
        x = [info.x_of(row) for row in rows]
        words = [_words(info, row) for row in rows]
        common = {"x": x, "mode": "markers", "text": words, "hovertemplate": "%{text}<extra></extra>"}
        bars = {
            "array": [row.high - row.estimate for row in rows],
            "arrayminus": [row.estimate - row.low for row in rows],
        }
        hollow = {"symbol": "circle-open", "size": 9, "color": colour}
        dash = {"symbol": "line-ew-open", "size": 16, "color": colour, "line": {"width": 2}}
        group = {"legendgroup": name, "showlegend": False}
        filled = {"size": 9, "color": colour}
        traces = [
            go.Scatter(
                y=[row.estimate for row in rows], error_y=bars, marker=filled, name=name, legendgroup=name, **common
            ),
            go.Scatter(y=[row.measured for row in rows], marker=hollow, **group, **common),
            go.Scatter(y=[row.floor for row in rows], marker=dash, **group, **common),
        ]
        for trace in traces:
            figure.add_trace(trace, row=1, col=1)
        for row in rows:
            dots = go.Scatter(x=plain(row.sizes), y=plain(row.by_size), mode="markers", marker_color=colour, **group)
            line = go.Scatter(x=plain(row.sizes), y=plain(row.expected), mode="lines", line_color=colour, **group)
            figure.add_trace(dots, row=1, col=2)
            figure.add_trace(line, row=1, col=2)
    ticks = {"tickvals": list(range(len(info.places))), "ticktext": [escaped(place) for place in info.places]}
    figure.update_xaxes(title_text=info.x_label, **ticks, row=1, col=1)
    figure.update_yaxes(title_text=escaped(info.y_label), rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title_text="images", type="log", row=1, col=2)
    figure.update_yaxes(type="log", exponentformat="power", row=1, col=2)
    note = f"{info.subtitle}; filled: population, hollow: measured, dash: noise floor"
    dress(figure, info.title, note, 520, width=1040)
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0})
    return figure


def _words(info: RoughnessInfo, row: RoughnessRow) -> str:
    numbers = (row.measured, row.floor, row.estimate, row.low, row.high)
    measured, floor, estimate, low, high = (f"{number:.3g}" for number in numbers)
    return "<br>".join(
        [
            f"{escaped(row.series)}, {escaped(row.place)}, {row.images:,} images",
            f"measured {measured}, noise floor {floor}",
            f"population {estimate} ({low} to {high})",
            f"codes flipped: up to {row.flips:.1f}%",
        ]
    )
