"""The measures of a report: which function, which unit, and on which side rough surfaces lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.roughness import measures
from landscape.roughness.differences import Axes
from landscape.roughness.information import information_content
from landscape.roughness.records import Side
from landscape.roughness.topology import merge_tree

Compute = Callable[[FloatArray, Axes, float], FloatArray]
"""From values (grid's shape, resamples behind it), coordinates and the threshold of minima to a number a resample."""

MINIMA_SHARE = 0.1
"""Share of the measured range that a minimum's persistence must exceed to be counted."""


@dataclass(frozen=True)
class Entry:
    """A group of measures that are computed together.

    Attributes:
        names: Keys.
        labels: In words.
        units: Of the numbers, With ``{value}`` for the value's unit; ``{per}`` is the same per unit of the coordinate.
        compute: Gives an array (len(names), resamples).
        rougher: On which side of the floor each is rough; None where noise says nothing.
        form: The squared measure whose replicating share says how much of the measured surface is the population's;
            None where a resample must keep plateaus as they are.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    compute: Compute
    rougher: tuple[Side | None, ...]
    form: str | None = "jaggedness"


def _one(
    function: Callable[[FloatArray, Axes], FloatArray],
    label: str,
    unit: str,
    rougher: Side | None = "above",
    form: str | None = "jaggedness",
) -> Entry:
    def compute(values: FloatArray, axes: Axes, threshold: float) -> FloatArray:
        return function(values, axes)[None]

    return Entry((function.__name__,), (label,), (unit,), compute, (rougher,), form)


def _each(function: Callable[[FloatArray, Axes, float], tuple[float, ...]]) -> Compute:
    """A measure of one surface, applied to every resample."""

    def compute(values: FloatArray, axes: Axes, threshold: float) -> FloatArray:
        resamples = values.reshape(*values.shape[: len(axes)], -1)
        rows = [function(resamples[..., number], axes, threshold) for number in range(resamples.shape[-1])]
        return np.array(rows, dtype=np.float64).T

    return compute


def _topology(values: FloatArray, axes: Axes, threshold: float) -> tuple[float, ...]:
    tree = merge_tree(values)
    minima = sum(death - birth > threshold for birth, death in tree.pairs)
    return float(minima), float(np.mean(tree.arcs)) if tree.arcs else 0.0


def _information(values: FloatArray, axes: Axes, threshold: float) -> tuple[float, ...]:
    found = information_content(values, axes)
    return found.h_max, found.eps_s, found.m0


CATALOGUE: tuple[Entry, ...] = (
    _one(measures.spread, "spread of the values (sd)", "{value}", form="quadratic_residual"),
    _one(measures.total_variation, "total variation per unit length", "{per}"),
    _one(measures.second_difference, "RMS second difference", "{value}"),
    _one(measures.relative_second_difference, "RMS second difference / range", ""),
    _one(measures.correlation_length, "correlation length", "of the coordinate", "below", form="quadratic_residual"),
    _one(measures.largest_jump, "largest jump between neighbours", "{value}"),
    _one(measures.quadratic_residual, "RMS residual of the best quadratic", "{value}", form="quadratic_residual"),
    _one(measures.quadratic_r2, "R^2 of the best quadratic", "", "below", form="quadratic_residual"),
    Entry(
        ("minima", "smad"),
        (f"minima deeper than {MINIMA_SHARE:.0%} of the range", "saddle-minimum average distance (SMAD)"),
        ("", "{value}"),
        _each(_topology),
        ("above", "above"),
    ),
    Entry(
        ("information_h_max", "information_eps_s", "information_m0"),
        ("information content, h_max", "information content, eps_s", "information content, m0"),
        ("", "log10 of {per}", ""),
        _each(_information),
        ("above", "above", "above"),
    ),
    _one(measures.plateau_share, "share of plateau", "", None, form=None),
)
"""In the order of a report."""
