"""Roughness of several surfaces side by side: measured, what noise alone would show, what is the population's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.plots.info.words import ValueText, value_text
from landscape.plots.runs import Run
from landscape.roughness.noise_floor import noise_floor
from landscape.roughness.records import PopulationEstimate

MEASURE = "jaggedness"


@dataclass(frozen=True, eq=False)
class RoughnessRow:
    """One surface. Roots of squared measures, in the value's unit.

    Attributes:
        model: Name of the network.
        bits: Such as w4a8.
        place: What is moved, in a few letters: the number of a block, or a pattern of layers.
        measured: RMS second difference beyond the best quadratic, as measured.
        floor: What noise alone would show at most, 19 times of 20.
        estimate: Of the population's; 0 where its square is estimated below zero.
        low: Lower end of its interval.
        high: Upper end.
        images: N.
        flips: Largest code-flip rate on the surface, in percent; NaN if unknown.
        sizes: Numbers of images, increasing, of `by_size`.
        by_size: The measure on so many images.
        expected: What it is expected to be, by the estimate.
    """

    model: str
    bits: str
    place: str
    measured: float
    floor: float
    estimate: float
    low: float
    high: float
    images: int
    flips: float
    sizes: FloatArray
    by_size: FloatArray
    expected: FloatArray

    @property
    def series(self) -> str:
        """Network and bits."""
        return f"{self.model}, {self.bits}" if self.bits else self.model


@dataclass(frozen=True, eq=False)
class RoughnessInfo:
    """Roughness of several surfaces.

    Attributes:
        title: Of the picture.
        subtitle: What the measure is.
        x_label: Label of the places.
        y_label: Label of the measure.
        text: Of the value.
        places: On the first axis, in order.
        rows: One for each surface.
    """

    title: str
    subtitle: str
    x_label: str
    y_label: str
    text: ValueText
    places: tuple[str, ...]
    rows: tuple[RoughnessRow, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """Networks and bits, each once."""
        return tuple(dict.fromkeys(row.series for row in self.rows))


def roughness_info(runs: Sequence[Run], value: str = "loss", level: float = 0.95) -> RoughnessInfo:
    """Collect the roughness of scans.

    Args:
        runs: Scans, complete or not.
        value: Which value, with per-image data.
        level: Of intervals and floors.

    Raises:
        UserError: A run has no such value or too few images.
    """
    rows = tuple(_row(run, value, level) for run in runs)
    text = value_text(value)
    unit = "points" if text.unit == "%" else text.unit
    places = sorted(dict.fromkeys(row.place for row in rows), key=_by_number)
    grids = {" x ".join(map(str, run.surface.shape)) for run in runs}
    steps = {f"{100 * float(np.diff(run.surface.alpha).mean()):.2g}%" for run in runs}
    many = "" if len(grids) == len(steps) == 1 else " (not the same for all: differences of a coarser grid are larger)"
    return RoughnessInfo(
        title=f"How jagged is {text.short}, and is it the images?",
        subtitle=f"RMS second difference beyond the best quadratic; {', '.join(sorted(grids))} points, steps of "
        f"{', '.join(sorted(steps))}{many}; {100 * level:g}% floors and intervals",
        x_label="attention block" if all(place.isdigit() for place in places) else "layers",
        y_label=f"jaggedness of {text.short}" + (f" ({unit})" if unit else ""),
        text=text,
        places=tuple(places),
        rows=rows,
    )


def _row(run: Run, value: str, level: float) -> RoughnessRow:
    surface = run.surface
    found: PopulationEstimate = noise_floor(surface, value, level=level)[MEASURE]
    settings = run.settings
    block, layers = settings.get("block"), settings.get("layers")
    flips = surface.values.get("flip_rate")
    known = flips is not None and bool(np.isfinite(flips).any())
    return RoughnessRow(
        model=str(settings.get("model") or "network").rpartition(":")[2],
        bits=str(settings.get("bits") or ""),
        place=str(block) if block is not None else str(layers) if layers else "default",
        measured=_root(found.measured),
        floor=_root(found.floor),
        estimate=_root(found.estimate),
        low=_root(found.low),
        high=_root(found.high),
        images=found.images,
        flips=float(100 * np.nanmax(flips)) if flips is not None and known else math.nan,
        sizes=np.array(found.curve.images, dtype=np.float64),
        by_size=np.sqrt(np.maximum(found.curve.measured, 0.0)),
        expected=np.sqrt(np.maximum(found.curve.expected, 0.0)),
    )


def _root(square: float) -> float:
    return math.nan if math.isnan(square) else math.sqrt(max(square, 0.0))


def _by_number(place: str) -> tuple[bool, float, str]:
    return (not place.isdigit(), float(place) if place.isdigit() else 0.0, place)
