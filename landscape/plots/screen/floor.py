"""The noise floor, for the screen."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.bootstrap import FloatArray
from landscape.plots.info.floor import FloorInfo
from landscape.plots.info.words import percent
from landscape.plots.screen.dress import SIGNED_SCALE, TICKS, dress, plain, plain_grid
from landscape.plots.style import AMBER, BLUE, GREY, ORANGE

_SHARE = "share of the power that replicates"


def draw_floor_interactive(info: FloorInfo) -> go.Figure:
    """The same panels as in print; pointing at a point shows its value."""
    return _line(info) if info.y is None else _grid(info, info.y)


def _grid(info: FloorInfo, y: FloatArray) -> go.Figure:
    titles = [f"measured on {info.images:,} images", "noise: half the difference of two halves", "part that replicates"]
    if not info.replicating.any():
        titles[2] += ": none is seen to"
    figure = make_subplots(2, 2, subplot_titles=[*titles, _SHARE], horizontal_spacing=0.14, vertical_spacing=0.16)
    for number, z in enumerate((info.measured, info.noise, info.replicating)):
        shown = go.Heatmap(
            x=plain(info.x), y=plain(y), z=plain_grid(z), coloraxis="coloraxis", name=titles[number], hoverongaps=False,
            hovertemplate=f"d1 %{{x:{TICKS}}}, d2 %{{y:{TICKS}}}<br>%{{z:.{info.text.decimals}f}} {info.text.unit}",
        )  # fmt: skip
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        figure.add_trace(shown, **place)
        figure.update_xaxes(title_text=info.x_label, tickformat=TICKS, showgrid=False, zeroline=False, **place)
        figure.update_yaxes(title_text=info.y_label, tickformat=TICKS, showgrid=False, zeroline=False, **place)
    _add_share(figure, info, 2, 2)
    bar = {"title": {"text": f"{info.text.short}, minus its mean ({info.text.unit})", "side": "right"}}
    colours = {"colorscale": SIGNED_SCALE, "cmin": -info.limit, "cmax": info.limit, "colorbar": bar}
    figure.update_layout(coloraxis=colours, showlegend=False)
    dress(figure, info.title, f"{info.subtitle}; {info.words}", 900, width=1000)
    return figure


def _line(info: FloorInfo) -> go.Figure:
    figure = make_subplots(3, 1, row_heights=[3, 2, 2], vertical_spacing=0.1)
    half = f"{info.images // 2:,} of the images"
    curves = [
        (info.first, half, BLUE, 1.0, "solid"),
        (info.second, "as many others", AMBER, 1.0, "solid"),
        (info.measured, "all images", GREY, 1.0, "dash"),
        (info.replicating, "replicates (estimate)", ORANGE, 2.5, "solid"),
    ]
    for z, name, colour, width, dash in curves:
        line = {"color": colour, "width": width, "dash": dash}
        figure.add_trace(go.Scatter(x=plain(info.x), y=plain(z), name=name, mode="lines", line=line), row=1, col=1)
    noise = go.Scatter(x=plain(info.x), y=plain(info.noise), mode="lines", line_color=GREY, showlegend=False)
    figure.add_trace(noise, row=2, col=1)
    for row in (1, 2):
        figure.update_xaxes(tickformat=TICKS, row=row, col=1)
    figure.update_xaxes(title_text=info.x_label, row=2, col=1)
    figure.update_yaxes(title_text=f"{info.text.short}, minus its mean<br>({info.text.unit})", row=1, col=1)
    figure.update_yaxes(title_text="noise: half the<br>difference", matches="y", row=2, col=1)
    _add_share(figure, info, 3, 1)
    dress(figure, info.title, f"{info.subtitle}; {info.words}", 820)
    figure.update_layout(legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0})
    return figure


def _add_share(figure: go.Figure, info: FloorInfo, row: int, column: int) -> None:
    bands = info.bands
    figure.add_trace(
        go.Scatter(
            x=plain(bands.wavelength), y=plain(np.maximum(bands.share, -0.5)), mode="markers", marker_color=BLUE,
            error_y={"array": plain(bands.share_error)}, showlegend=False, name=_SHARE,
            hovertemplate="wavelength %{x:.2~%}: %{y:.2f} ± %{error_y.array:.2f}<extra></extra>",
        ),
        row=row, col=column,
    )  # fmt: skip
    words = [percent(float(f"{each:.1g}")).lstrip("+") for each in bands.wavelength]
    axis = {"type": "log", "autorange": "reversed", "tickvals": plain(bands.wavelength), "ticktext": words}
    figure.update_xaxes(title_text="wavelength (change of the scales)", **axis, row=row, col=column)
    figure.update_yaxes(title_text="share that replicates", range=[-0.6, 1.25], row=row, col=column)
