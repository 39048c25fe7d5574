"""A surface inside a page: values, intervals, noise floor and roughness, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo, ValueInfo, surface_info
from landscape.plots.info.floor import FloorInfo, floor_info
from landscape.plots.info.words import percent
from landscape.report.packing import packed
from landscape.roughness.records import Measure, Roughness
from landscape.roughness.report import roughness
from landscape.surface import Surface


def surface_data(surface: Surface, level: float, draws: int) -> dict[str, Any]:
    """All that the page shows of a surface.

    Args:
        surface: Complete or not.
        level: Coverage of intervals.
        draws: Resamples behind intervals and floors of roughness; 0 leaves the roughness out.
    """
    info = surface_info(surface, surface.names, level)
    return {
        "x": info.x.tolist(),
        "y": None if info.y is None else info.y.tolist(),
        "x_label": info.x_label,
        "y_label": info.y_label,
        "centre": list(info.centre_index),
        "images": info.images,
        "level": level,
        "complete": surface.complete,
        "values": [_value_data(surface, info, shown, level, draws) for shown in info.values.values()],
    }


def overview(surface: Surface, data: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a run in the table of all runs, by column; None where there is none."""
    values = {value["name"]: value for value in data["values"]}
    row: dict[str, Any] = {"points": int(surface.computed.sum()), "images": data["images"]}
    for name in ("loss", "top1", "infonce"):
        value = values.get(name)
        row[f"{name}_centre"] = None if value is None else value["centre"]
        row[f"{name}_spread"] = None if value is None else value["spread"]
        row[f"{name}_share"] = None if value is None or value["floor"] is None else value["floor"]["share"]
        row[f"{name}_rough"] = None if value is None else value["rough"]
    if "flip_rate" in values:
        row["flips"] = _finite(float(np.nanmax(100 * surface.values["flip_rate"]))) if surface.computed.any() else None
    row["radius"] = percent(float(surface.alpha[-1])).lstrip("+")
    return row


def _value_data(surface: Surface, info: SurfaceInfo, shown: ValueInfo, level: float, draws: int) -> dict[str, Any]:
    finite = shown.z[np.isfinite(shown.z)]
    floor, why = _floor(surface, shown.name)
    measured = _roughness(surface, shown.name, level, draws)
    return {
        "name": shown.name,
        "label": shown.text.label,
        "short": shown.text.short,
        "unit": shown.text.unit,
        "change": shown.text.change_label,
        "factor": shown.text.factor,
        "decimals": shown.text.decimals,
        "z": packed(shown.z),
        "low": None if shown.low is None else packed(shown.low, exact=False),
        "high": None if shown.high is None else packed(shown.high, exact=False),
        "centre": _finite(shown.centre),
        "levels": shown.levels,
        "best": None if shown.best is None else list(shown.best.index),
        "float": None if shown.float_level is None else _finite(shown.float_level),
        "spread": float(finite.std()) if finite.size else None,
        "floor": None if floor is None else _floor_data(floor),
        "no_floor": why,
        "roughness": [] if measured is None else [_measure(each) for each in measured],
        "population": [] if measured is None or measured.noise is None else [each.to_dict() for each in measured.noise],
        "rough": None if measured is None else measured.rough,
    }


def _floor(surface: Surface, name: str) -> tuple[FloorInfo | None, str]:
    """The noise floor, or why there is none."""
    if name not in surface.per_image:
        return None, "there are no per-image values"
    try:
        return floor_info(surface, name), ""
    except UserError as error:
        return None, str(error)


def _floor_data(floor: FloorInfo) -> dict[str, Any]:
    bands = floor.bands
    return {
        "words": floor.words,
        "share": _finite(floor.share),
        "measured": packed(floor.measured, exact=False),
        "noise": packed(floor.noise, exact=False),
        "replicating": packed(floor.replicating, exact=False),
        "wavelength": bands.wavelength.tolist(),
        "band_share": [_finite(each) for each in bands.share.tolist()],
        "band_error": [_finite(each) for each in bands.share_error.tolist()],
    }


def _roughness(surface: Surface, name: str, level: float, draws: int) -> Roughness | None:
    if draws < 1 or int(np.isfinite(surface.values[name]).sum()) < 3:
        return None
    return roughness(surface, name, level=level, draws=draws)


def _measure(measure: Measure) -> dict[str, Any]:
    return {**measure.to_dict(), "label": measure.label}


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
