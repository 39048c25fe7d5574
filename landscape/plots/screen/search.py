"""Searches compared, for the screen."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.info.search import ConvergenceInfo, CurveInfo, MethodsInfo
from landscape.plots.methods import Look, looks
from landscape.plots.screen.dress import dress, escaped, faint, plain
from landscape.plots.style import GREY


def draw_convergence_interactive(info: ConvergenceInfo) -> go.Figure:
    """Best loss so far against the budget; the legend hides methods."""
    figure = go.Figure()
    found = looks(curve.label for curve in info.curves)
    for curve in info.curves:
        for trace in _curve(info, curve, found[curve.label]):
            figure.add_trace(trace)
    if np.isfinite(info.start):
        figure.add_hline(info.start, line={"color": GREY, "dash": "dot", "width": 1}, annotation_text="start")
    figure.update_xaxes(title_text=info.x_label, tickformat=",", rangemode="tozero")
    figure.update_yaxes(title_text=escaped(info.y_label))
    dress(figure, info.title, info.subtitle, 560)
    figure.update_layout(legend={"orientation": "h", "y": -0.16, "x": 0}, hovermode="closest")
    return figure


def _curve(info: ConvergenceInfo, curve: CurveInfo, look: Look) -> list[go.Scatter]:
    name, seeds = escaped(curve.label), len(curve.seeds)
    line = {"color": look.colour, "dash": look.screen_line, "shape": "hv"}
    decimals = info.text.decimals
    template = f"%{{x:,}} images: %{{y:.{decimals}f}}<extra>{name}</extra>"
    words = f"{name} ({seeds} seeds)" if seeds > 1 else name
    mean = go.Scatter(
        x=plain(curve.cost), y=plain(curve.mean), mode="lines", line=line, name=words, legendgroup=name,
        hovertemplate=template,
    )  # fmt: skip
    if seeds == 1:
        return [mean]
    none = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip", "showlegend": False}
    low = go.Scatter(x=plain(curve.cost), y=plain(curve.low), legendgroup=name, **none)
    high = go.Scatter(
        x=plain(curve.cost), y=plain(curve.high), legendgroup=name, fill="tonexty", fillcolor=faint(look.colour, 0.15),
        **none,
    )  # fmt: skip
    return [low, high, mean]


def draw_methods_interactive(info: MethodsInfo) -> go.Figure:
    """Ends of all searches, a dot for each seed, a bar for their mean."""
    figure = make_subplots(1, len(info.panels), shared_yaxes=True, horizontal_spacing=0.06)
    found = looks(info.labels)
    for column, (name, panel) in enumerate(info.panels.items(), 1):
        for label, seeds, ends in zip(info.labels, info.seeds, panel, strict=True):
            look = found[label]
            dots = {"symbol": look.screen_marker, "size": 9, "color": look.colour, "opacity": 0.85}
            words = [f"{escaped(label)}, seed {seed}" for seed in seeds]
            figure.add_trace(
                go.Scatter(x=plain(ends), y=[escaped(label)] * len(ends), mode="markers", marker=dots, text=words,
                           hovertemplate="%{text}: %{x}<extra></extra>", showlegend=False),
                row=1, col=column,
            )  # fmt: skip
            bar = {"symbol": "line-ns-open", "size": 26, "color": look.colour, "line": {"width": 3}}
            figure.add_trace(
                go.Scatter(x=[float(ends.mean())], y=[escaped(label)], mode="markers", marker=bar, showlegend=False,
                           hovertemplate=f"mean of {len(ends)} seeds: %{{x}}<extra>{escaped(label)}</extra>"),
                row=1, col=column,
            )  # fmt: skip
        start = info.starts[name]
        figure.add_vline(start, line={"color": GREY, "dash": "dot"}, annotation_text="start", row=1, col=column)
        figure.update_xaxes(title_text=escaped(name), row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    dress(figure, info.title, info.subtitle, 190 + 44 * len(info.labels))
    figure.update_layout(margin_l=180)
    return figure
