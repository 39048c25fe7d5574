"""Searches compared: the loss against the budget, and what each method ended with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.words import COST_LABEL, ValueText, value_text
from landscape.trajectory import Trajectory

_STEPS = 400
"""Costs at which a curve is drawn, at most."""


@dataclass(frozen=True, eq=False)
class CurveInfo:
    """Best loss so far of one method, over its seeds.

    Attributes:
        label: Of the method.
        seeds: Of its searches.
        cost: Budget in images, shape (C,), increasing.
        mean: Mean over the seeds of the best loss so far, shape (C,); NaN before all of them know one.
        low: Lowest over the seeds.
        high: Highest over the seeds.
    """

    label: str
    seeds: tuple[int, ...]
    cost: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class ConvergenceInfo:
    """Loss against budget.

    Attributes:
        title: Network.
        subtitle: Where the numbers come from.
        x_label: Label of the budget.
        y_label: Label of the loss.
        text: Of the loss.
        start: Loss at the start; NaN if unknown.
        curves: One for each method, in the order of the runs.
    """

    title: str
    subtitle: str
    x_label: str
    y_label: str
    text: ValueText
    start: float
    curves: tuple[CurveInfo, ...]


@dataclass(frozen=True, eq=False)
class MethodsInfo:
    """What each method ended with, seed by seed.

    Attributes:
        title: Network.
        subtitle: Where the numbers come from.
        labels: Methods, the best mean first.
        seeds: Of each method.
        panels: For each panel, its label, and the values of each method by seed; NaN for a search that goes on.
        starts: The start's value for each panel.
    """

    title: str
    subtitle: str
    labels: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    panels: Mapping[str, tuple[FloatArray, ...]]
    starts: Mapping[str, float]


def convergence_info(trajectories: Sequence[Trajectory], title: str = "") -> ConvergenceInfo:
    """Collect curves of the best loss so far.

    Raises:
        UserError: The searches minimised different losses, or visited no point.
    """
    known = [each for each in trajectories if len(each)]
    if not known:
        raise UserError("the searches have visited no point yet; let them run for a while")
    loss = _one_loss(known)
    text = value_text(loss)
    curves = tuple(_curve(label, group) for label, group in _by_label(known).items())
    seeds = max(len(curve.seeds) for curve in curves)
    images = int(max(each.images.max() for each in known))
    shade = "; line: mean over seeds, band: lowest and highest" if seeds > 1 else ""
    return ConvergenceInfo(
        title=title,
        subtitle=f"best so far on the {images:,} search images{shade}",
        x_label=COST_LABEL,
        y_label=f"lowest {text.short} so far{_unit(text)}",
        text=text,
        start=float(known[0].best[0]),
        curves=curves,
    )


def methods_info(trajectories: Sequence[Trajectory], value: str = "loss", title: str = "") -> MethodsInfo:
    """Collect the ends of all searches: their own loss on the search images, and a value on the test images.

    Args:
        trajectories: Finished or not.
        value: Shown on the test images.
        title: Network.

    Raises:
        UserError: No search is finished, they minimised different losses, or the value was not measured.
    """
    finished = [each for each in trajectories if each.finished]
    if not finished:
        raise UserError("no search is finished yet, and only then are the test images looked at; resume them")
    loss = _one_loss(finished)
    if value not in finished[0].result["end"]["test"]:
        known = ", ".join(finished[0].result["end"]["test"])
        raise UserError(f"the searches did not measure '{value}' on the test images; they have {known}")
    groups = _by_label(finished)
    sides = [("search", loss), ("test", value)]
    ends = {label: [_ends(group, *side) for side in sides] for label, group in groups.items()}
    order = sorted(groups, key=lambda label: float(np.mean(ends[label][0])))
    names = [_panel_name(*side) for side in sides]
    spent = max(float(each.cost[-1]) for each in finished)
    return MethodsInfo(
        title=title,
        subtitle=f"after up to {spent:,.0f} images through the full network; a dot is a seed, the bar their mean",
        labels=tuple(order),
        seeds=tuple(tuple(each.seed for each in groups[label]) for label in order),
        panels={name: tuple(ends[label][k] for label in order) for k, name in enumerate(names)},
        starts={
            name: _shown(finished[0].result["start"][side][which], which)
            for name, (side, which) in zip(names, sides, strict=True)
        },
    )


def _curve(label: str, group: Sequence[Trajectory]) -> CurveInfo:
    costs = np.unique(np.concatenate([each.cost for each in group]))
    if len(costs) > _STEPS:
        costs = costs[np.unique(np.linspace(0, len(costs) - 1, _STEPS).round().astype(int))]
    best = np.stack([each.best_at(costs) for each in group])
    return CurveInfo(
        label, tuple(each.seed for each in group), costs, best.mean(axis=0), best.min(axis=0), best.max(axis=0)
    )


def _ends(group: Sequence[Trajectory], side: str, value: str) -> FloatArray:
    return np.array([_shown(each.result["end"][side][value], value) for each in group])


def _shown(number: float, value: str) -> float:
    return float(number) * value_text(value).factor


def _panel_name(side: str, value: str) -> str:
    text = value_text(value)
    return f"{side} {text.short}{_unit(text)}"


def _unit(text: ValueText) -> str:
    return f" ({text.unit})" if text.unit and text.unit != "1" else ""


def _by_label(trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    groups: dict[str, list[Trajectory]] = {}
    for each in trajectories:
        groups.setdefault(each.label, []).append(each)
    return groups


def _one_loss(trajectories: Sequence[Trajectory]) -> str:
    losses = sorted({each.loss for each in trajectories})
    if len(losses) > 1:
        raise UserError(
            f"the searches minimised different losses ({', '.join(losses)}); give runs with the same --loss"
        )
    return losses[0]
