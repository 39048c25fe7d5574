"""Interactive pictures of a surface: buttons choose the value, a grid is seen as a heat map or in 3D."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo, ValueInfo, percent
from landscape.plots.paper.axes import edges
from landscape.plots.screen.dress import GAP, TICKS, dress, marker, plain
from landscape.plots.style import BLUE, GREEN, GREY, ORANGE

_BAND = "rgba(0, 114, 178, 0.2)"
_CAMERA = {"eye": {"x": 1.5, "y": 1.5, "z": 1.1}}

_FLAT, _RAISED = [0, 2, 3], [1, 4, 5]
"""Traces of a grid's heat map and of its surface in 3D."""

Restyle = dict[str, list[Any]]
"""For each attribute, one entry a trace: what a button changes."""


def draw_contours_interactive(info: SurfaceInfo, value: str = "loss") -> go.Figure:
    """One value of a grid as filled contours with written levels; one with few distinct levels as cells.

    Raises:
        UserError: The record has no such value, or is a line.
    """
    shown = info.chosen(value)
    if info.y is None:
        raise UserError("contours need a grid, and this run is a line; take --kind line")
    state = _grid_state(info, info.y, shown)
    flat = {"hovertemplate": "%{text}<extra></extra>"}
    levels = {"coloring": "heatmap", "showlabels": True, "labelfont": {"size": 10, "color": "white"}}
    lines = {"contours": levels, "ncontours": 14, "line_smoothing": 0}  # straight between points, as the values are
    look: dict[str, Any] = lines if not shown.levels else {"hoverongaps": False}
    colours = "Cividis" if shown.name == "top1" else "Viridis"
    figure = go.Figure(
        (go.Heatmap if shown.levels else go.Contour)(
            x=state["x"][0], y=state["y"][0], z=state["z"][0], text=state["text"][0], colorscale=colours, **look,
            **flat, colorbar={"title": {"text": shown.text.label, "side": "right"}})
    )  # fmt: skip
    for trace, look in ((2, marker("cross", "white")), (3, marker("star", ORANGE))):
        entries = {name: entry[trace] for name, entry in state.items() if entry[trace] is not None}
        figure.add_trace(go.Scatter(**entries, mode="markers", marker=look, **flat))
    x, y = (edges(axis) if shown.levels else axis for axis in (info.x, info.y))
    bare: dict[str, Any] = {"tickformat": TICKS, "showgrid": False, "zeroline": False}
    figure.update_xaxes(title_text=info.x_label, range=[x[0], x[-1]], **bare)
    figure.update_yaxes(title_text=info.y_label, range=[y[0], y[-1]], **bare)
    figure.update_traces(cliponaxis=False, selector={"type": "scatter"})  # a mark on the border is whole
    dress(figure, info.title, "; ".join(filter(None, (info.subtitle, shown.levels_words))), 760)
    figure.update_layout(plot_bgcolor=GAP, legend={"orientation": "h", "y": -0.13, "x": 0})
    return figure


def draw_surface_interactive(info: SurfaceInfo, value: str = "loss", *, raised: bool = False) -> go.Figure:
    """Draw a surface for the screen.

    One button a value. Pointing at a point shows its coordinates, value, and the paired interval of its difference to
    the centre. A grid has two more buttons, for a heat map and for a surface in 3D; both keep the chosen value.

    Args:
        info: The record of the surface.
        value: Name of the value shown first.
        raised: Show a grid in 3D first.

    Raises:
        UserError: If the record has no such value.
    """
    shown = info.chosen(value)
    return _line_figure(info, shown) if info.y is None else _grid_figure(info, info.y, shown, raised)


def _line_figure(info: SurfaceInfo, shown: ValueInfo) -> go.Figure:
    flips = info.values.get("flip_rate")
    rows = 2 if flips else 1
    figure = make_subplots(rows, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[3, 1][:rows])
    looks: list[dict[str, Any]] = [
        {
            "mode": "lines",
            "fill": "toself",
            "fillcolor": _BAND,
            "line": {"color": _BAND, "width": 1},
            "hoverinfo": "skip",
        },
        {"mode": "lines+markers", "line": {"color": BLUE}, "marker": {"size": 5}},
        {"mode": "markers", "marker": marker("cross", "white")},
        {"mode": "markers", "marker": marker("star", ORANGE)},
        {"mode": "lines", "line": {"color": GREEN, "dash": "dash"}, "hoverinfo": "name"},
    ]
    state = _line_state(info, shown)
    for trace, look in enumerate(looks):
        entries = {name: entry[trace] for name, entry in state.items() if entry[trace] is not None}
        figure.add_trace(go.Scatter(**entries, **look), row=1, col=1)
    if flips:
        curve = {"x": plain(info.x), "y": plain(flips.z), "text": hover_texts(info, flips), "hovertemplate": "%{text}"}
        look = {"mode": "lines+markers", "line": {"color": GREY}, "marker": {"size": 4}, "name": ""}
        figure.add_trace(go.Scatter(**curve, **look, showlegend=False), row=2, col=1)
        figure.update_yaxes(title_text=flips.text.label.replace(" (", "<br>("), rangemode="tozero", row=2, col=1)
    figure.update_yaxes(title_text=shown.text.label, row=1, col=1)
    figure.update_xaxes(tickformat=TICKS)
    figure.update_xaxes(title_text=info.x_label, row=rows, col=1)
    traces = list(range(len(looks)))
    buttons = [
        _button(each, "update", _line_state(info, each), {"yaxis.title.text": each.text.label}, traces)
        for each in info.values.values()
    ]
    dress(figure, info.title, info.subtitle, 700, menus=[_menu(buttons, _position(info, shown), row=0)])
    figure.update_layout(legend={"orientation": "h", "y": -0.16, "x": 0})
    return figure


def _line_state(info: SurfaceInfo, shown: ValueInfo) -> Restyle:
    """Band, curve, centre, best and float level of one value."""
    ends = [float(info.x[0]), float(info.x[-1])]
    band_x, band_y = band(info.x, shown)
    best_x, best_z = _best(shown)
    level, known = shown.float_level, shown.float_level is not None
    words = f"float network: {shown.write(level)}" if level is not None else ""
    return {
        "x": [band_x, plain(info.x), [0.0], best_x[:1], ends],
        "y": [band_y, plain(shown.z), plain(np.array([shown.centre])), best_z, [level, level] if known else []],
        "text": [
            None,
            hover_texts(info, shown),
            [_hover_at(info, shown, info.centre_index)],
            _besthover_texts(info, shown),
            None,
        ],
        "hovertemplate": [None, *["%{text}<extra></extra>"] * 3, None],
        "name": [_band_words(info), "quantized network", *_mark_words(shown), words],
        "visible": [
            bool(band_x),
            True,
            bool(np.isfinite(shown.centre)),
            bool(best_x),
            (True if shown.float_in_range else "legendonly") if known else False,
        ],
    }


def _grid_figure(info: SurfaceInfo, y: FloatArray, shown: ValueInfo, raised: bool) -> go.Figure:
    state = _grid_state(info, y, shown)
    flat = {"hovertemplate": "%{text}<extra></extra>"}
    kinds: list[tuple[Any, dict[str, Any]]] = [
        (go.Heatmap, {"coloraxis": "coloraxis", "hoverongaps": False}),
        (go.Surface, {"coloraxis": "coloraxis"}),
        (go.Scatter, {"mode": "markers", "marker": marker("cross", "white")}),
        (go.Scatter, {"mode": "markers", "marker": marker("star", ORANGE)}),
        (go.Scatter3d, {"mode": "markers", "marker": {"size": 5, "color": "black"}}),
        (go.Scatter3d, {"mode": "markers", "marker": {"size": 5, "color": ORANGE}}),
    ]
    figure = go.Figure()
    for trace, (kind, look) in enumerate(kinds):
        entries = {name: entry[trace] for name, entry in state.items() if entry[trace] is not None}
        figure.add_trace(kind(**entries, **look, **flat, visible=(trace in _RAISED) is raised))
    axis = {"tickformat": TICKS, "showgrid": False, "zeroline": False, "constrain": "domain"}
    ends = [[float(border[0]), float(border[-1])] for border in (edges(info.x), edges(y))]
    figure.update_xaxes(title_text=info.x_label, visible=not raised, range=ends[0], **axis)
    figure.update_yaxes(title_text=info.y_label, visible=not raised, range=ends[1], **axis)
    labels = {"x": info.x_label, "y": info.y_label}
    scene: dict[str, Any] = {
        f"{name}axis": {"title": {"text": label, "font": {"size": 11}}, "tickformat": TICKS}
        for name, label in labels.items()
    }
    scene["zaxis"] = {"title": {"text": shown.text.label}, "minexponent": 7}
    figure.update_layout(
        scene={**scene, "aspectmode": "cube", "camera": _CAMERA},
        coloraxis={"colorscale": "Viridis", "colorbar": {"title": {"text": shown.text.label, "side": "right"}}},
        showlegend=True,
        legend={"orientation": "h", "y": -0.13, "x": 0},
    )
    values = [
        _button(each, "update", _grid_state(info, y, each), _grid_labels(each), list(range(len(kinds))))
        for each in info.values.values()
    ]
    views = [_view_button("heat map", _FLAT, len(kinds)), _view_button("3D surface", _RAISED, len(kinds))]
    menus = [_menu(values, _position(info, shown), row=0), _menu(views, int(raised), row=1)]
    dress(figure, info.title, info.subtitle, 780, menus=menus)
    figure.update_layout(plot_bgcolor="white" if raised else GAP)
    return figure


def _grid_labels(shown: ValueInfo) -> dict[str, str]:
    return {"coloraxis.colorbar.title.text": shown.text.label, "scene.zaxis.title.text": shown.text.label}


def _grid_state(info: SurfaceInfo, coordinates: FloatArray, shown: ValueInfo) -> Restyle:
    """Heat map, surface, and the marks of centre and best point in both, of one value."""
    x, y, z = plain(info.x), plain(coordinates), [plain(row) for row in shown.z.T]
    hover = [list(row) for row in np.array(hover_texts(info, shown), dtype=object).reshape(shown.z.shape).T]
    best_x, best_z = _best(shown)
    best_y = [shown.best.beta] if shown.best is not None else []
    centre = plain(np.array([shown.centre]))
    centre_hover, best_hover = [_hover_at(info, shown, info.centre_index)], _besthover_texts(info, shown)
    words = _mark_words(shown)
    if shown.float_level is not None:
        words[0] += f" (float network: {shown.write(shown.float_level)})"
    return {
        "x": [x, x, [0.0], best_x, [0.0], best_x],
        "y": [y, y, [0.0], best_y, [0.0], best_y],
        "z": [z, z, None, None, centre, best_z],
        "text": [hover, hover, centre_hover, best_hover, centre_hover, best_hover],
        "name": [None, None, *words, *words],
        "showlegend": [False, False, *[bool(np.isfinite(shown.centre)), bool(best_x)] * 2],
    }


def _view_button(label: str, visible: list[int], traces: int) -> dict[str, Any]:
    flat = visible is _FLAT
    shown = {"visible": [trace in visible for trace in range(traces)]}
    layout = {"xaxis.visible": flat, "yaxis.visible": flat, "plot_bgcolor": GAP if flat else "white"}
    return {"label": label, "method": "update", "args": [shown, layout]}


def _button(shown: ValueInfo, method: str, state: Restyle, layout: dict[str, str], traces: list[int]) -> dict[str, Any]:
    return {"label": html.escape(shown.text.short, quote=False), "method": method, "args": [state, layout, traces]}


def _menu(buttons: list[dict[str, Any]], active: int, row: int) -> dict[str, Any]:
    place = {"x": row, "xanchor": "right" if row else "left", "y": 1.02, "yanchor": "bottom", "pad": {"t": 0, "b": 0}}
    return {"type": "buttons", "direction": "right", "buttons": buttons, "active": active, **place}


def _mark_words(shown: ValueInfo) -> list[str]:
    best = shown.write(float(shown.z[shown.best.index])) if shown.best is not None else ""
    return [f"centre: {shown.write(shown.centre)}", f"best: {best}"]


def _band_words(info: SurfaceInfo) -> str:
    images = f"{info.images:,} images" if info.images else "images"
    return f"{100 * info.level:g}% interval of the difference to the centre (paired bootstrap over {images})"


def band(x: FloatArray, shown: ValueInfo) -> tuple[list[float | None], list[float | None]]:
    """Outline of the interval band, one closed polygon for each run of finite points, separated by None."""
    if shown.low is None or shown.high is None:
        return [], []
    low, high = shown.centre + shown.low, shown.centre + shown.high
    finite = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    band_x: list[float | None] = []
    band_y: list[float | None] = []
    for run in np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1):
        band_x += [*x[run].tolist(), *x[run][::-1].tolist(), None]
        band_y += [*low[run].tolist(), *high[run][::-1].tolist(), None]
    return band_x[:-1], band_y[:-1]


def _best(shown: ValueInfo) -> tuple[list[float], list[float]]:
    return ([], []) if shown.best is None else ([shown.best.alpha], [float(shown.z[shown.best.index])])


def _besthover_texts(info: SurfaceInfo, shown: ValueInfo) -> list[str]:
    return [] if shown.best is None else [_hover_at(info, shown, shown.best.index)]


def hover_texts(info: SurfaceInfo, shown: ValueInfo) -> list[str]:
    """Text of every point, in the order of the grid."""
    return [_hover_at(info, shown, index) for index in np.ndindex(shown.z.shape)]


def _hover_at(info: SurfaceInfo, shown: ValueInfo, index: tuple[int, ...]) -> str:
    place = f"d1 {percent(float(info.x[index[0]]))}"
    if info.y is not None:
        place += f", d2 {percent(float(info.y[index[1]]))}"
    z = float(shown.z[index])
    lines = [
        place,
        f"{html.escape(shown.text.label, quote=False)}: {shown.write(z) if np.isfinite(z) else 'no finite value'}",
    ]
    difference = z - shown.centre
    if np.isfinite(difference) and index != info.centre_index:
        lines.append(f"minus the centre: {shown.write(difference, signed=True)}")
        if shown.low is not None and shown.high is not None:
            low, high = (shown.write(float(end[index]), signed=True) for end in (shown.low, shown.high))
            lines.append(f"{100 * info.level:g}% interval of that: {low} to {high}")
    return "<br>".join(lines)


def _position(info: SurfaceInfo, shown: ValueInfo) -> int:
    return list(info.values).index(shown.name)
