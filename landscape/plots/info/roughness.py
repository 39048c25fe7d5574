"""Roughness of several surfaces side by side: measured, what noise alone would show, what is the population's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.words import ValueText, value_text
from landscape.plots.reading import read
from landscape.plots.runs import Run
from landscape.plots.titles import place_of_scales
from landscape.roughness.noise_floor import noise_floor
from landscape.roughness.records import PopulationEstimate

MEASURE = "jaggedness"
SPREAD = 0.7
"""Room that the series of a place share, of the distance between two places."""


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

    def x_of(self, row: RoughnessRow) -> float:
        """Where a row stands on the first axis: at its place, beside the others there, series by series."""
        there = self._at(row.place)
        number = next(k for k, each in enumerate(there) if each is row)
        return self.places.index(row.place) + self.room(row.place) * (number - (len(there) - 1) / 2)

    def room(self, place: str) -> float:
        """Distance of neighbours at a place."""
        return SPREAD / max(len(self._at(place)), len(self.series))

    def _at(self, place: str) -> list[RoughnessRow]:
        return [row for name in self.series for row in self.rows if (row.series, row.place) == (name, place)]


def roughness_info(
    runs: Sequence[Run], value: str = "loss", level: float = 0.95, table: Sequence[Mapping[str, Any]] = ()
) -> RoughnessInfo:
    """Collect the roughness of scans.

    Args:
        runs: Scans, complete or not.
        value: Which value, with per-image data.
        level: Of intervals and floors.
        table: Rows of a stored table (lines, intervals of 95 %), the last of each line, with the most images, is taken.

    Raises:
        UserError: A run has no such value or too few images, or the table has no such value.
    """
    stored = _most_images(table, value)
    if table and not stored:
        raise UserError(f"the table has no '{value}'; it has {', '.join(dict.fromkeys(r['value'] for r in table))}")
    rows = (*(_row(run, value, level) for run in runs), *map(_row_of_table, stored))
    text = value_text(value)
    unit = "points" if text.unit == "%" else text.unit
    places = sorted(dict.fromkeys(row.place for row in rows), key=_by_number)
    grids = {" x ".join(map(str, run.surface.shape)) for run in runs}
    grids |= {"lines of 41" for _ in stored}
    steps = {f"{100 * float(np.diff(run.surface.alpha).mean()):.2g}%" for run in runs}
    steps |= {f"{100 * row['step']:.2g}%" for row in stored}
    lines = (
        "; neighbours of one colour: other directions" if len({(r.series, r.place) for r in rows}) < len(rows) else ""
    )
    many = "" if len(grids) == len(steps) == 1 else " (not the same for all: differences of a coarser grid are larger)"
    return RoughnessInfo(
        title=f"How jagged is {text.short}, and is it the images?",
        subtitle=f"RMS second difference beyond the best quadratic; {', '.join(sorted(grids))} points, steps of "
        f"{', '.join(sorted(steps))}{many}; {100 * level:g}% floors and intervals{lines}",
        x_label="attention block" if not any("*" in place or "layer" in place for place in places) else "what moves",
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
    return _made(
        found,
        model=str(settings.get("model") or "network").rpartition(":")[2],
        bits=str(settings.get("bits") or ""),
        place=f"block {block}" if block is not None else str(layers) if layers else _default_place(settings),
        flips=float(100 * np.nanmax(flips)) if flips is not None and known else math.nan,
    )


def _default_place(settings: Mapping[str, Any]) -> str:
    return place_of_scales(settings.get("scales") or ()).removeprefix("layers ")


def _row_of_table(row: Mapping[str, Any]) -> RoughnessRow:
    found = read(PopulationEstimate, row[MEASURE])
    place = f"block {row['part']}" if str(row["part"]).isdigit() else str(row["part"])
    flips = row.get("flip_rate")
    known = math.nan if flips is None else 100 * float(flips)
    data = f" ({row['data']})" if row.get("data") else ""
    return _made(found, model=f"{row['network']}{data}", bits=str(row["bits"]), place=place, flips=known)


def _most_images(table: Sequence[Mapping[str, Any]], value: str) -> list[Mapping[str, Any]]:
    """Of each line, the row on the most images."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in sorted(table, key=lambda row: int(row["images"])):
        if row["value"] == value and row.get("dims", 1) == 1:
            found[str(row["run"])] = row
    order = list(dict.fromkeys(str(row["run"]) for row in table))
    return sorted(found.values(), key=lambda row: order.index(str(row["run"])))


def _made(found: PopulationEstimate, *, model: str, bits: str, place: str, flips: float) -> RoughnessRow:
    return RoughnessRow(
        model=model,
        bits=bits,
        place=place,
        measured=_root(found.measured),
        floor=_root(found.floor),
        estimate=_root(found.estimate),
        low=_root(found.low),
        high=_root(found.high),
        images=found.images,
        flips=flips,
        sizes=np.array(found.curve.images, dtype=np.float64),
        by_size=np.sqrt(np.maximum(found.curve.measured, 0.0)),
        expected=np.sqrt(np.maximum(found.curve.expected, 0.0)),
    )


def _root(square: float) -> float:
    return math.nan if math.isnan(square) else math.sqrt(max(square, 0.0))


def _by_number(place: str) -> tuple[bool, float, str]:
    number = place.removeprefix("block ")
    return (not number.isdigit(), float(number) if number.isdigit() else 0.0, place)
