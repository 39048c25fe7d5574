"""Spectra of the curvature, and fits of models, for the screen."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.curvature import FitInfo, SpectrumInfo, operator_words
from landscape.plots.paper.curvature import KIND_COLOURS, LOWEST_SCORE, MODEL_COLOURS, density_limits
from landscape.plots.screen.dress import dress, escaped, faint
from landscape.plots.style import PURPLE


def draw_spectrum_interactive(info: SpectrumInfo) -> go.Figure:
    """Densities and outer eigenvalues; pointing at a tick shows the eigenvalue and its residual."""
    figure = make_subplots(1, len(info.panels), subplot_titles=[escaped(name) for name, _ in info.panels])
    for column, (_, group) in enumerate(info.panels, 1):
        peak = max((max(each.density.density) for each in group if each.density), default=1.0)
        for row, each in enumerate(group):
            colour, name = KIND_COLOURS.get(each.kind, PURPLE), escaped(operator_words(each))
            if each.density is not None:
                line = go.Scatter(x=each.density.grid, y=each.density.density, line_color=colour, name=name)
                figure.add_trace(line, row=1, col=column)
            ends = [*each.largest, *each.smallest]
            residuals = [*each.largest_residuals, *each.smallest_residuals]
            ticks = {"symbol": "line-ns-open", "size": 10, "color": colour}
            figure.add_trace(
                go.Scatter(x=ends, y=[peak * 10 ** (-4.4 - 0.3 * row)] * len(ends), mode="markers", marker=ticks,
                           text=[f"residual {residual:.1e}" for residual in residuals], showlegend=False,
                           hovertemplate="eigenvalue %{x:.4g}<br>%{text}<extra></extra>"),
                row=1, col=column,
            )  # fmt: skip
        figure.update_xaxes(title_text=escaped(info.x_label), title_font_size=11, row=1, col=column)
        lowest, highest = density_limits(group)
        ends_of_axis = [math.log10(lowest), math.log10(highest)]
        figure.update_yaxes(type="log", exponentformat="power", range=ends_of_axis, row=1, col=column)
    figure.update_yaxes(title_text=info.y_label, row=1, col=1)
    dress(figure, info.title, info.subtitle, 560, width=1040)
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0})
    return figure


def draw_fit_interactive(info: FitInfo) -> go.Figure:
    """R^2 by radius with intervals, and the changes behind it."""
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    for fit in info.fits:
        colour, name = MODEL_COLOURS.get(fit.model, PURPLE), escaped(fit.model)
        x = [*fit.radii, *fit.radii[::-1]]
        shade = {"fill": "toself", "fillcolor": faint(colour, 0.15), "mode": "lines", "line_width": 0}
        band = go.Scatter(x=x, y=[*fit.low, *fit.high[::-1]], **shade, hoverinfo="skip", showlegend=False)
        template = f"radius %{{x:.3~%}}: R<sup>2</sup> %{{y:.3f}}<extra>{name}</extra>"
        curve = go.Scatter(x=fit.radii, y=fit.r2, mode="lines+markers", line_color=colour, name=name, legendgroup=name,
                           hovertemplate=template)  # fmt: skip
        change = go.Scatter(x=fit.radii, y=fit.predicted_change, mode="lines+markers", line_color=colour, name=name,
                            legendgroup=name, showlegend=False)  # fmt: skip
        for trace, column in ((band, 1), (curve, 1), (change, 2)):
            figure.add_trace(trace, row=1, col=column)
    first = info.fits[0]
    real = go.Scatter(x=first.radii, y=first.real_change, mode="lines+markers", line_color="black", name="real surface")
    figure.add_trace(real, row=1, col=2)
    figure.update_xaxes(type="log", tickformat=".2~%", title_text=info.x_label)
    figure.update_yaxes(title_text="R<sup>2</sup> within the radius", range=[LOWEST_SCORE, 1.08], row=1, col=1)
    words = f"RMS change of {escaped(info.text.short)} ({escaped(info.text.unit)})"
    figure.update_yaxes(title_text=words, type="log", exponentformat="power", row=1, col=2)
    dress(figure, info.title, info.subtitle, 520, width=1040)
    figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0})
    return figure
