"""Split-half replication: the same surface from two disjoint halves of the images."""

from __future__ import annotations

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.roughness.differences import Axes, present, second_differences
from landscape.roughness.measures import second_difference
from landscape.roughness.noise_floor import axes_of
from landscape.roughness.records import Replication, Span
from landscape.roughness.units import Units, image_units, unit_of
from landscape.surface import Surface


def replication(
    surface: Surface, value: str = "loss", *, images: int | None = None, splits: int = 200, seed: int = 0
) -> Replication:
    """Correlation and roughness of two disjoint halves of the images, over many random splits.

    With half the images each, halves agree less than two whole samples would. The mean of the halves holds population
    and noise, half their difference noise alone, of the same size: were the population's surface smooth, both were
    equally rough. Halves of infoNCE are made of whole batches.

    Args:
        surface: With per-image values.
        value: Which value.
        images: Only the first so many images; all by default.
        splits: Number of random splits.
        seed: Of the splits.

    Raises:
        UserError: The value has no per-image data, or there are fewer than two units.
        ValueError: `splits` is not positive.
    """
    if splits < 1:
        raise ValueError(f"splits is {splits}; expected at least 1")
    return replication_of_units(image_units(surface, value, images), axes_of(surface), splits, seed)


def replication_of_units(units: Units, axes: Axes, splits: int, seed: int) -> Replication:
    """`replication` of units at hand."""
    if units.count < 2:
        raise UserError(f"replication needs at least two images (of infoNCE: two batches); there are {units.count}")
    one, other = _halves(units.samples, splits, seed)
    there = present(units.samples, axes)
    return Replication(
        value=units.name,
        unit=unit_of(units.name),
        images=units.images,
        splits=splits,
        values=_span(_correlation(one[there], other[there])),
        second_differences=_span(
            _correlation(second_differences(one, axes)[0], second_differences(other, axes)[0]),
        ),
        roughness_of_mean=_span(second_difference((one + other) / 2, axes)),
        roughness_of_half_difference=_span(second_difference((one - other) / 2, axes)),
    )


def _halves(samples: FloatArray, splits: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Means of two disjoint halves, each of the grid's shape and splits behind it; an odd unit is left out."""
    generator = np.random.default_rng(seed)
    units = samples.shape[-1]
    half = units // 2
    weights = np.zeros((2, units, splits))
    for split in range(splits):
        order = generator.permutation(units)
        weights[0, order[:half], split] = weights[1, order[half : 2 * half], split] = 1.0 / half
    return samples @ weights[0], samples @ weights[1]


def _correlation(one: FloatArray, other: FloatArray) -> FloatArray:
    """Pearson's correlation over the first axis; NaN where a side is constant."""
    if len(one) < 2:
        return np.full(one.shape[1:], np.nan)
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.sqrt(np.square(one).sum(axis=0) * np.square(other).sum(axis=0))
        return np.asarray((one * other).sum(axis=0) / norms)


def _span(numbers: FloatArray) -> Span:
    if np.isnan(numbers).any():
        return Span(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(numbers, [0.025, 0.975])
    return Span(float(numbers.mean()), float(low), float(high))
