"""Surfaces side by side: does one loss rank the points as another does, and calibration images as test images?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from landscape.bootstrap import FloatArray, bootstrap_counts
from landscape.errors import UserError
from landscape.roughness.differences import present
from landscape.roughness.estimate import FEWEST_UNITS, cross_product, squared_estimate
from landscape.roughness.forms import VARIANCE, Form
from landscape.roughness.noise_floor import axes_of
from landscape.roughness.units import Units, image_units, is_coupled, lower_is_better
from landscape.surface import Surface


@dataclass(frozen=True)
class RankCorrelation:
    """How far two surfaces on one grid rank its points alike. Of top-1 the error is ranked, so that +1 is agreement.

    Attributes:
        value: The one surface.
        against: The other.
        spearman: Spearman's rank correlation of the measured surfaces over the points.
        low: Lower end of its bootstrap interval over images; resamples with a constant surface are left out.
        high: Upper end.
        population: Pearson's correlation of the population's surfaces: the noise of the images, which weakens the
            correlation of measured surfaces (or strengthens it, where both share it), taken out of covariance and
            variances by products of different images. NaN where a variance is not above zero. By chance beyond 1.
        images: Behind the values.
        points: Of the grid, where both are known.
    """

    value: str
    against: str
    spearman: float
    low: float
    high: float
    population: float
    images: int
    points: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return {
            name: None if isinstance(entry, float) and not math.isfinite(entry) else entry
            for name, entry in vars(self).items()
        }


@dataclass(frozen=True)
class GeneralisationGap:
    """The same grid on calibration and on test images, the two sets independent of one another.

    Attributes:
        value: Which value.
        gap: Test minus calibration, mean over the points; in the value's unit.
        gap_low: Lower end of its bootstrap interval over both sets of images.
        gap_high: Upper end.
        surface: Test minus calibration at each point, of the grid's shape.
        ranks: Correlation of the two surfaces; `population` corrects for the noise of both.
        regret: Test value of the point that is best on the calibration images minus that of the best point on the test
            images, and of top-1 the other way round: what choosing by calibration images loses; at least 0.
        gain: Test value of the centre minus that of the point that is best on the calibration images (of top-1 the
            other way round): what choosing gains on images that did not choose.
        gain_low: Lower end of the bootstrap interval of the gain over test images, the choice held.
        gain_high: Upper end.
    """

    value: str
    gap: float
    gap_low: float
    gap_high: float
    surface: FloatArray
    ranks: RankCorrelation
    regret: float
    gain: float
    gain_low: float
    gain_high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        surface = [None if math.isnan(entry) else entry for entry in self.surface.ravel().tolist()]
        return {**vars(self), "surface": surface, "ranks": self.ranks.to_dict()}


def rank_correlations(
    surface: Surface,
    against: str = "loss",
    *,
    images: int | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[RankCorrelation, ...]:
    """Rank correlation of every value's surface with that of one, on the same images.

    A resample takes the same images for both (whole batches, where one of the two is infoNCE).

    Args:
        surface: With per-image values.
        against: The value that the others are compared with: the test loss.
        images: Only the first so many images; all by default.
        level: Of the intervals.
        draws: Resamples.
        seed: Of the resamples.

    Raises:
        UserError: `against` is unknown, or has no per-image values.
    """
    names = [name for name in surface.names if name != against and name in surface.per_image]
    rows = []
    for name in names:
        batches = is_coupled(name) or is_coupled(against)
        one, other = (image_units(surface, each, images, batches) for each in (name, against))
        rows.append(_correlation(one, other, surface, level, draws, seed, paired=True))
    return tuple(rows)


def generalisation_gap(
    calibration: Surface, test: Surface, value: str = "loss", *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> GeneralisationGap:
    """Compare a surface on calibration images with that on test images, scanned on the same grid and directions.

    Raises:
        UserError: The grids differ, a value is missing, or the centre has none.
    """
    if calibration.shape != test.shape or any(
        not np.array_equal(one, other) for one, other in zip(axes_of(calibration), axes_of(test), strict=True)
    ):
        raise UserError("the two runs have different grids; scan both with the same --points, --radius and --dims")
    if calibration.settings.get("direction") != test.settings.get("direction") or calibration.settings.get(
        "seed"
    ) != test.settings.get("seed"):
        raise UserError("the two runs have different directions; scan both with the same --direction and --seed")
    one, other = image_units(calibration, value), image_units(test, value)
    ranks = _correlation(one, other, test, level, draws, seed, paired=False)
    sign = 1.0 if lower_is_better(value) else -1.0
    there = np.isfinite(one.mean) & np.isfinite(other.mean)
    chosen = np.unravel_index(np.where(there, sign * one.mean, np.inf).argmin(), there.shape)
    test_mean = sign * other.mean
    gains = sign * (other.samples[test.centre_index] - other.samples[chosen])
    drawn = _resample(np.stack([gains, other.samples[there].mean(axis=0)]), draws, seed)
    of_calibration = _resample(one.samples[there].mean(axis=0)[None], draws, seed + 1)[0]
    tails = [(1 - level) / 2, (1 + level) / 2]
    gain_low, gain_high = np.quantile(drawn[0], tails)
    gap_low, gap_high = np.quantile(drawn[1] - of_calibration, tails)
    difference = np.where(there, other.mean - one.mean, np.nan)
    return GeneralisationGap(
        value,
        float(difference[there].mean()),
        float(gap_low),
        float(gap_high),
        difference,
        ranks,
        float(test_mean[chosen] - test_mean[there].min()),
        float(gains.mean()),
        float(gain_low),
        float(gain_high),
    )


def _correlation(
    one: Units, other: Units, surface: Surface, level: float, draws: int, seed: int, *, paired: bool
) -> RankCorrelation:
    axes = axes_of(surface)
    there = present(one.samples, axes) & present(other.samples, axes)
    signs = [1.0 if lower_is_better(units.name) else -1.0 for units in (one, other)]
    first, second = (sign * units.samples[there] for sign, units in zip(signs, (one, other), strict=True))
    measured = _spearman(first.mean(axis=1)[:, None], second.mean(axis=1)[:, None])[0]
    resamples = _spearman(_resample(first, draws, seed), _resample(second, draws, seed if paired else seed + 1))
    kept = resamples[~np.isnan(resamples)]
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]) if kept.size else (math.nan, math.nan)
    population = _population(first, second, paired) if min(one.count, other.count) >= FEWEST_UNITS else math.nan
    return RankCorrelation(
        one.name, other.name, float(measured), float(low), float(high), population, other.images, int(there.sum())
    )


def _resample(samples: FloatArray, draws: int, seed: int) -> FloatArray:
    """Means of resampled units, shape (points, draws); equal seeds take equal units."""
    counts = bootstrap_counts(samples.shape[1], draws, np.random.default_rng(seed))
    return np.asarray(samples @ counts.T / samples.shape[1])


def _spearman(one: FloatArray, other: FloatArray) -> FloatArray:
    """Spearman's correlation over the first axis, ties with mean ranks; NaN where a side is constant."""
    ranks = [rankdata(side, axis=0) for side in (one, other)]
    one, other = (rank - rank.mean(axis=0) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.sqrt(np.square(one).sum(axis=0) * np.square(other).sum(axis=0))
        return np.asarray((one * other).sum(axis=0) / norms)


def _population(one: FloatArray, other: FloatArray, paired: bool) -> float:
    first, second = (_rows(VARIANCE, side) for side in (one, other))
    covariance = cross_product(first, second) if paired else float(first.mean(axis=1) @ second.mean(axis=1))
    variances = squared_estimate(first).estimate, squared_estimate(second).estimate
    if min(variances) <= 0.0:
        return math.nan
    return covariance / math.sqrt(variances[0] * variances[1])


def _rows(form: Form, samples: FloatArray) -> FloatArray:
    return form.rows(samples, [np.arange(len(samples), dtype=np.float64)])


def rank_lines(rows: Sequence[RankCorrelation]) -> list[str]:
    """A table of text."""
    from landscape.roughness.text import aligned, number

    if not rows:
        return ["no other values to compare"]
    lines = [f"rank correlation (Spearman) of each surface with {rows[0].against}, over {rows[0].points} points"]
    table = [["value", "measured", "low", "high", "population", "images"]]
    for row in rows:
        cells = [row.spearman, row.low, row.high, row.population]
        table.append([row.value, *(number(cell) for cell in cells), f"{row.images:,}"])
    return lines + aligned(table)


def gap_lines(found: GeneralisationGap) -> list[str]:
    """Calibration against test images, in four lines."""
    from landscape.roughness.text import number
    from landscape.roughness.units import unit_of

    unit, ranks = f" {unit_of(found.value)}".rstrip(), found.ranks
    return [
        f"{found.value} on calibration and on test images, over {ranks.points} points",
        f"  gap, test minus calibration: {number(found.gap)}{unit} "
        f"({number(found.gap_low)} to {number(found.gap_high)})",
        f"  rank correlation {number(ranks.spearman)} ({number(ranks.low)} to {number(ranks.high)}), "
        f"of the populations {number(ranks.population)}",
        f"  the best point on calibration images gains {number(found.gain)}{unit} on test images "
        f"({number(found.gain_low)} to {number(found.gain_high)}), {number(found.regret)} less than their own best",
    ]
