"""Searches inside a page: pictures of their paths and progress, and a table of what they ended with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landscape.errors import UserError
from landscape.plots.info.search import convergence_info, methods_info
from landscape.plots.info.trajectories import check_same_network, trajectories_info
from landscape.plots.info.words import value_text
from landscape.plots.runs import Run
from landscape.plots.screen.search import draw_convergence_interactive, draw_methods_interactive
from landscape.plots.screen.trajectories import draw_trajectories_interactive
from landscape.plots.titles import search_title
from landscape.report.figures import plain_figure
from landscape.trajectory import Trajectory


def search_data(run: Run, scans: Sequence[Run]) -> dict[str, Any]:
    """Pictures (figures of plotly, without size and title) and table of a run's searches.

    Args:
        run: With trajectories.
        scans: Of the report; the first grid around the same start, if any, lies below the paths.
    """
    title = search_title([run])
    trajectories = run.trajectories
    pictures, missing = {}, {}
    makers: dict[str, Callable[[], Any]] = {
        "convergence": lambda: draw_convergence_interactive(convergence_info(trajectories, title)),
        "methods": lambda: draw_methods_interactive(methods_info(trajectories, title=title)),
        "trajectories": lambda: draw_trajectories_interactive(
            trajectories_info(trajectories, _scan_below(run, scans), title=title)
        ),
    }
    for name, make in makers.items():
        try:
            pictures[name] = plain_figure(make())
        except UserError as error:
            missing[name] = str(error)
    return {"title": title, "pictures": pictures, "missing": missing, "table": results(trajectories)}


def results(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Head, digits and rows of the table of ends: method, seed, budget, time, each measured value at start and end."""
    names = sorted({name for each in trajectories if each.finished for name in each.result["end"]["test"]})
    texts = {name: value_text(name) for name in names}
    head = ["method", "seed", "points", "images spent", "seconds"]
    decimals: list[int | None] = [None] * len(head)
    for side in ("search", "test"):
        decimals += [texts[name].decimals for name in names for _ in ("start", "end")]
        head += [f"{side} {texts[name].short}, {when}" for name in names for when in ("start", "end")]
    rows = []
    for each in trajectories:
        spent, seconds = (float(end[-1]) if len(each) else 0.0 for end in (each.cost, each.seconds))
        row: list[Any] = [each.label, each.seed, len(each), spent, round(seconds, 1)]
        for side in ("search", "test"):
            for name in names:
                row += [_end(each, when, side, name) for when in ("start", "end")]
        rows.append(row)
    return {"head": head, "decimals": decimals, "rows": rows}


def _end(trajectory: Trajectory, when: str, side: str, name: str) -> float | None:
    if not trajectory.finished or name not in trajectory.result[when][side]:
        return None
    return float(trajectory.result[when][side][name]) * value_text(name).factor


def _scan_below(run: Run, scans: Sequence[Run]) -> Run | None:
    for scan in scans:
        if scan.surface.beta is None:
            continue
        try:
            check_same_network(scan, [run])
            trajectories_info(run.trajectories, scan)
        except UserError:
            continue
        return scan
    return None
