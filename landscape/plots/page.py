"""Pages: the interactive picture in a file of its own, and the table a notebook shows."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo, ValueText, percent, value_text, written
from landscape.plots.paper import draw_surface
from landscape.plots.runs import Run
from landscape.plots.screen import draw_surface_interactive
from landscape.plots.screen.shell import page_around
from landscape.plots.style import DPI
from landscape.plots.titles import image_words
from landscape.roughness.text import number
from landscape.surface import BETTER, Surface
from landscape.trajectory import Trajectory


def save_surface(info: SurfaceInfo, folder: str | Path) -> list[Path]:
    """Write `surface.png` (200 dots an inch) and `surface.html` (interactive, needs no network) into a folder.

    Args:
        info: The record of the surface.
        folder: An existing folder; files of those names are replaced.

    Returns:
        The two paths.

    Raises:
        UserError: If a file cannot be written.
    """
    picture, page = Path(folder) / "surface.png", Path(folder) / "surface.html"
    first = next(iter(info.values))
    try:
        draw_surface(info, first).savefig(
            picture, dpi=DPI, metadata={"Title": info.title, "Description": info.subtitle}
        )
        page.write_text(surface_page(info), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write the pictures into {folder}: {reason}; choose a folder with space") from error
    return [picture, page]


def surface_page(info: SurfaceInfo) -> str:
    """A self-contained page: the interactive picture, plotly.js included, and how to read it."""
    return page_around(draw_surface_interactive(info, next(iter(info.values))), info.title, _notes(info))


def summary_html(surface: Surface) -> str:
    """A small table of a surface's values, and its settings, for notebooks."""
    rows = [_summary_row(surface, name) for name in surface.values]
    head = ("", "float", "centre", "best", "worst", "sd over points")
    settings = "; ".join(
        f"{html.escape(str(key))}: {html.escape(str(setting))}"
        for key, setting in surface.settings.items()
        if setting is not None
    )
    return (
        f"<p><b>{html.escape(repr(surface))}</b></p><table>{_row(head, 'th')}{''.join(rows)}</table><p>{settings}</p>"
    )


def trajectory_html(trajectory: Trajectory) -> str:
    """A small table of a search: start, best, cost, and what it ended with, for notebooks."""
    text = value_text(trajectory.loss)
    if not len(trajectory):
        return f"<p><b>{html.escape(repr(trajectory))}</b></p>"
    rows = [
        ("points", f"{len(trajectory):,}, {int(trajectory.accepted.sum()):,} of them accepted"),
        ("budget spent", f"{trajectory.cost[-1]:,.0f} images, {trajectory.seconds[-1]:.1f} s"),
        (f"search {text.short}", _change(trajectory.best[0], trajectory.best[-1], text)),
    ]
    if trajectory.finished:
        start, end = (trajectory.result[when]["test"] for when in ("start", "end"))
        rows += [(f"test {value_text(n).short}", _change(start[n], end[n], value_text(n))) for n in end if n in start]
    title = f"{trajectory.label}, seed {trajectory.seed}" + ("" if trajectory.finished else ", not finished")
    table = "".join(_row((html.escape(name), words)) for name, words in rows)
    return f"<p><b>{html.escape(title)}</b></p><table>{table}</table>"


def run_html(run: Run) -> str:
    """What a run folder holds, for notebooks: status, then the table of its surface and those of its searches."""
    head = f"<p><b>{html.escape(run.name)}</b>: {html.escape(str(run.settings.get('kind') or 'run'))}, {run.status}</p>"
    parts = [head]
    if run.is_scan:
        parts.append(summary_html(run.surface))
    if run.has_trajectories:
        parts += [trajectory_html(trajectory) for trajectory in run.trajectories]
    return "".join(parts)


def _change(start: float, end: float, text: ValueText) -> str:
    first, last = (written(float(number) * text.factor, text.decimals) for number in (start, end))
    return f"{first} &rarr; {last} {html.escape(text.unit)}"


def _summary_row(surface: Surface, name: str) -> str:
    text = value_text(name).on(image_words(surface.settings))
    z = surface.values[name] * text.factor
    float_level = (surface.reference.get("float") or {}).get(name, np.nan) * text.factor
    numbers = [float_level, float(z[surface.centre_index])]
    if np.isnan(z).all():
        numbers += [np.nan] * 3
    else:
        ends = [surface.best(name), surface.worst(name)] if name in BETTER else []
        numbers += [end.values[name] * text.factor for end in ends] or [np.nan, np.nan]
        numbers.append(surface.spread(name)["sd"] * text.factor)
    written = [f"{number:z.{text.decimals}f}" if np.isfinite(number) else "" for number in numbers]
    return _row((html.escape(text.label), *written))


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _notes(info: SurfaceInfo) -> str:
    """How to read the picture, in the words of the project."""
    reach = percent(float(info.x[-1]))
    directions = "d1" if info.y is None else "d1 and d2"
    formula = "exp(&alpha; d1)" if info.y is None else "exp(&alpha; d1 + &beta; d2)"
    parts = [
        f"<b>Axes.</b> The scales are s = s0 {formula}, with {directions} of unit RMS; an axis shows the coordinate "
        f"in percent. At {reach} the logarithms of the scales have moved by {reach.lstrip('+')} in the RMS over all "
        "moved scales. Zero, the cross, is the calibrated network.",
        f"<b>Values.</b> Means over the {html.escape(info.images_are)} images. The code-flip rate is the share of "
        "integer codes that differ from the centre's. infoNCE compares the logits with the float network's and "
        "is shown times 2T. Lower is better for losses, higher for top-1.",
    ]
    if any(shown.low is not None for shown in info.values.values()):
        kind = f"{html.escape(info.images_are)} images"
        images = f"{info.images:,} {kind}" if info.images else kind
        parts.append(
            f"<b>Intervals.</b> {100 * info.level:g}% paired bootstrap over the {images}, of a point's value minus the "
            "centre's, one point at a time. A difference whose interval holds zero may belong to these images alone; "
            f"and about {100 * (1 - info.level):g}% of the intervals miss the true difference by chance. The star is "
            "the best of all points on these very images, so part of its lead is luck."
        )
    if info.verdicts:
        parts.append(
            "<b>Is it rough?</b> The jaggedness is the root mean square of the second differences, beyond those of the "
            "best quadratic. &ldquo;Yes&rdquo;: it is more than noise of the images alone would show, 19 times of 20. "
            "&ldquo;Not shown&rdquo;: it is not, and more images may or may not show it."
        )
    if any(not np.isfinite(shown.z).all() for shown in info.values.values()):
        parts.append("<b>Gaps.</b> Grey cells, or gaps in a curve, have no finite value, or are not computed yet.")
    return "".join(f"<p>{part}</p>" for part in parts) + _verdict_table(info)


def _verdict_table(info: SurfaceInfo) -> str:
    """Jaggedness of each value beside what noise alone would show."""
    if not info.verdicts:
        return ""
    head = ("is it rough?", "", "jaggedness (RMS)", "noise alone, at most", "images needed", "unit")
    rows = [_row(head, "th")]
    for name, verdict in info.verdicts.items():
        numbers = [number(each) for each in (verdict.jaggedness, verdict.floor)]
        needed = f"{math.ceil(verdict.images_needed):,}" if math.isfinite(verdict.images_needed) else "-"
        cells = (value_text(name).short, verdict.said, *numbers, needed, verdict.unit)
        rows.append(_row(html.escape(cell) for cell in cells))
    reasons = dict.fromkeys(html.escape(verdict.reason) for verdict in info.verdicts.values() if verdict.reason)
    return f'<div class="table"><table>{"".join(rows)}</table></div>' + "".join(f"<p>{why}</p>" for why in reasons)
