"""The noise floor: how much of each squared measure is the population's, and how much the sample's."""

from __future__ import annotations

import math

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.roughness.differences import Axes
from landscape.roughness.estimate import FEWEST_UNITS, SquaredEstimate, squared_estimate
from landscape.roughness.forms import FORMS, Form
from landscape.roughness.records import NoiseFloor, PopulationEstimate, SizeCurve
from landscape.roughness.units import Units, image_units, unit_of
from landscape.surface import Surface

_SMALLEST_SIZE = 25
"""Images below which the curve against the number of images is not followed."""


def noise_floor(
    surface: Surface, value: str = "loss", *, images: int | None = None, level: float = 0.95, seed: int = 0
) -> NoiseFloor:
    """Population estimates of all squared measures; see `landscape.roughness.estimate` for the mathematics.

    Images of infoNCE depend on their batch, so its units are batches.

    Args:
        surface: With per-image values.
        value: ``loss``, ``top1`` (in squared percentage points) or another value with per-image data.
        images: Only the first so many images; all by default.
        level: Of intervals and floors.
        seed: Of the order in which the curve takes images.

    Raises:
        UserError: The value has no per-image data, or fewer than four units (batches, for infoNCE).
        ValueError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    return floor_of_units(image_units(surface, value, images), axes_of(surface), level, seed)


def jaggedness_of_values(surface: Surface) -> dict[str, PopulationEstimate | str]:
    """The jaggedness of every value of single images, with its floor; or, in words, why it is not to be had."""
    found: dict[str, PopulationEstimate | str] = {}
    for name in surface.names:
        if name in surface.per_image:
            try:
                estimates = {estimate.name: estimate for estimate in noise_floor(surface, name)}
            except UserError as error:
                found[name] = str(error)
            else:
                found[name] = estimates.get("jaggedness", _TOO_FEW_POINTS)
    return found


_TOO_FEW_POINTS = "jaggedness needs three neighbouring points with finite values, and there are none"


def floor_of_units(units: Units, axes: Axes, level: float, seed: int) -> NoiseFloor:
    """`noise_floor` of units at hand."""
    if units.count < FEWEST_UNITS:
        what = "images" if units.size == 1 else f"batches of {units.size} images"
        raise UserError(
            f"a noise floor of {units.name} needs at least {FEWEST_UNITS} {what}, and there are {units.count}; "
            "use more images" + ("" if units.size == 1 else " or smaller batches")
        )
    order = np.random.default_rng(seed).permutation(units.count)
    rows = [(form, form.rows(units.samples, axes)) for form in FORMS]
    estimates = tuple(_population(form, found, units, level, order) for form, found in rows if len(found))
    return NoiseFloor(units.name, units.images, level, estimates)


def axes_of(surface: Surface) -> tuple[FloatArray, ...]:
    """Coordinates along each direction."""
    return (surface.alpha,) if surface.beta is None else (surface.alpha, surface.beta)


def _population(
    form: Form, rows: FloatArray, units: Units, level: float, order: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> PopulationEstimate:
    found = squared_estimate(rows)
    low, high = found.interval(level)
    unit = unit_of(units.name)
    return PopulationEstimate(
        name=form.name,
        label=form.label,
        unit=f"{unit}^2" if " " not in unit else f"({unit})^2",
        measured=found.measured,
        sample_part=found.sample_part,
        estimate=found.estimate,
        low=low,
        high=high,
        standard_error=found.standard_error,
        floor=found.floor(level),
        share=found.estimate / found.measured if found.measured > 0.0 else math.nan,
        images=units.images,
        unit_images=units.size,
        images_needed=found.units_needed(level) * units.size,
        detectable=found.detectable(level),
        curve=_curve(rows[:, order], found, units.size),
    )


def _curve(rows: FloatArray, found: SquaredEstimate, size: int) -> SizeCurve:
    """Measured on disjoint subsets of N, N/2, N/4 ... images."""
    counts = [found.units]
    while counts[-1] // 2 * size >= _SMALLEST_SIZE and counts[-1] > 1:
        counts.append(counts[-1] // 2)
    counts.reverse()
    measured = []
    for count in counts:
        blocks = rows[:, : found.units // count * count].reshape(len(rows), -1, count).mean(axis=2)
        measured.append(float(np.square(blocks).sum(axis=0).mean()))
    expected = tuple(found.estimate + found.trace / count for count in counts)
    return SizeCurve(tuple(count * size for count in counts), tuple(measured), expected, found.estimate)
