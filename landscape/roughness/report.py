"""All measures of a surface with intervals and floors (ours).

Resampling images adds their noise once more: resampled surfaces are rougher than the measured one, which is rougher
than the population's. An interval of plain resamples would lie above the value itself. So resampled *noise* is added to
what is estimated to be the population's surface: mean + q (best quadratic - mean) + s (measured - best quadratic),
where q^2 and s^2 are the shares of the squared parts that replicate (`landscape.roughness.estimate`). These surfaces
are as rough as the measured one on average, and as different from one another as other samples of N images would be.
With s = 0 the population is smooth, and what noise alone makes of it is the floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray, multiplier_noise
from landscape.errors import UserError
from landscape.roughness.catalogue import CATALOGUE, MINIMA_SHARE, Entry
from landscape.roughness.differences import Axes, equally_spaced, present
from landscape.roughness.estimate import FEWEST_UNITS
from landscape.roughness.measures import value_range
from landscape.roughness.noise_floor import axes_of, floor_of_units
from landscape.roughness.quadratic import quadratic_fit
from landscape.roughness.records import Measure, NoiseFloor, Roughness
from landscape.roughness.replication import replication_of_units
from landscape.roughness.topology import persistence_diagram
from landscape.roughness.units import Units, image_units, lower_is_better, unit_of
from landscape.surface import Surface

SPLITS = 200
"""Random splits of the replication in a report."""

FEW_UNITS = 20
"""Independent units below which a report warns."""


def roughness(
    surface: Surface,
    value: str = "loss",
    *,
    images: int | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Roughness:
    """Measure a surface: every measure with its interval and floor, population estimates, replication.

    Without per-image values (as for the flip rate) there are only the measures themselves.

    Args:
        surface: On a line or in a plane, complete or not: missing points are left out.
        value: ``loss``, ``top1`` (in percentage points; its minima are those of the error) or any other value.
        images: Only the first so many images; all by default.
        level: Of intervals and floors.
        draws: Resamples behind them.
        seed: Of resamples and splits.

    Raises:
        UserError: There is no such value, fewer than three points have one, or fewer images than asked for.
        ValueError: Level or draws are out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1")
    axes = axes_of(surface)
    units = image_units(surface, value, images) if value in surface.per_image else None
    if units is None and images is not None:
        raise UserError(f"this surface keeps no per-image '{value}', of which {images} could be taken")
    values = units.mean if units is not None else _values(surface, value)
    points = int(present(values, axes).sum())
    if points < 3:
        raise UserError(f"roughness needs at least 3 points with a {value}, and there are {points}; scan more of them")
    enough = units is not None and units.count >= FEWEST_UNITS
    noise = floor_of_units(units, axes, level, seed) if units is not None and enough else None
    resampled = _resample(units, values, axes, noise, draws, seed) if units is not None and noise is not None else None
    sign = 1.0 if lower_is_better(value) else -1.0
    return Roughness(
        value=value,
        images=units.images if units is not None else 0,
        points=points,
        level=level,
        draws=draws,
        seed=seed,
        measures=_measures(values, axes, unit_of(value), resampled, level, sign, _why_none(units, enough)),
        diagram=persistence_diagram(values if sign > 0 else 100.0 - values),
        noise=noise,
        replication=replication_of_units(units, axes, SPLITS, seed) if units is not None and enough else None,
    )


def _values(surface: Surface, value: str) -> FloatArray:
    if value not in surface.values:
        raise UserError(f"this surface has no value '{value}'; it has {', '.join(surface.values) or 'none'}")
    return surface.values[value]


def _why_none(units: Units | None, enough: bool) -> str:
    if units is None:
        return "no per-image values, so no interval"
    if not enough:
        return f"fewer than {FEWEST_UNITS} independent units of {units.size} images, so no interval"
    if units.count < FEW_UNITS:
        return f"only {units.count} independent units of {units.size} images: intervals and floors are a rough guide"
    return ""


@dataclass(frozen=True, eq=False)
class _Resampled:
    """Surfaces with resampled noise, around the population's surface as each form estimates it.

    Attributes:
        rest: What the best quadratic leaves of the measured surface, of the grid's shape.
        smooth_part: The best quadratic, its deviations from the mean times the root of their replicating share.
        shares: Root of the replicating share of the rest, by name of the form that measures it.
        measured: The surface, same shape.
        noise: Of the grid's shape and resamples behind it; see `landscape.bootstrap.multiplier_noise`.
    """

    rest: FloatArray
    smooth_part: FloatArray
    shares: dict[str, float]
    measured: FloatArray
    noise: FloatArray

    def around(self, entry: Entry) -> FloatArray:
        """Other samples of the images, as they might have been."""
        if entry.form is None:
            return self.measured[..., None] + self.noise
        return (self.smooth_part + self.shares.get(entry.form, 0.0) * self.rest)[..., None] + self.noise

    def smooth(self) -> FloatArray:
        """Samples of a smooth population."""
        return self.smooth_part[..., None] + self.noise


def _resample(units: Units, values: FloatArray, axes: Axes, noise: NoiseFloor, draws: int, seed: int) -> _Resampled:
    samples = units.samples.reshape(-1, units.count)
    drawn = multiplier_noise(samples, draws, seed).reshape(*values.shape, draws)
    fit, centre = quadratic_fit(values, axes), values[present(values, axes)].mean()
    found = {each.name: each for each in noise}
    shares = {name: _root_share(each.estimate, each.measured) for name, each in found.items()}
    if "quadratic_residual" not in found:  # too few points for a quadratic: the mean is all that is smooth
        return _Resampled(values - centre, np.full(values.shape, centre), shares, values, drawn)
    variance, residual = found["variance"], found["quadratic_residual"]  # orthogonal: the rest is the quadratic's part
    explained = _root_share(variance.estimate - residual.estimate, variance.measured - residual.measured)
    return _Resampled(values - fit, centre + explained * (fit - centre), shares, values, drawn)


def _root_share(estimate: float, measured: float) -> float:
    return math.sqrt(min(max(estimate / measured, 0.0), 1.0)) if measured > 0.0 else 0.0


def _measures(
    values: FloatArray, axes: Axes, unit: str, resampled: _Resampled | None, level: float, sign: float, note: str
) -> tuple[Measure, ...]:
    threshold = MINIMA_SHARE * float(value_range(values, axes))
    words = {"value": unit, "per": f"{unit} per unit of the coordinate".strip()}
    found: list[Measure] = []
    for entry in CATALOGUE:
        if "correlation_length" in entry.names and not equally_spaced(axes):
            found.append(_refused(entry, words))
            continue
        measured = entry.compute(sign * values[..., None], axes, threshold)[:, 0]
        low = high = floor = np.full(len(measured), np.nan)
        if resampled is not None:
            low, high = _quantiles(entry.compute(sign * resampled.around(entry), axes, threshold), level)
            if any(entry.rougher):
                floor = _floor(entry, entry.compute(sign * resampled.smooth(), axes, threshold), level)
        for number, name in enumerate(entry.names):
            found.append(
                Measure(
                    name,
                    entry.labels[number],
                    float(measured[number]),
                    float(low[number]),
                    float(high[number]),
                    float(floor[number]),
                    entry.units[number].format(**words).strip(),
                    entry.rougher[number],
                    note,
                )
            )
    return tuple(found)


def _refused(entry: Entry, words: dict[str, str]) -> Measure:
    nan = math.nan
    note = "needs an equally spaced grid"
    return Measure(entry.names[0], entry.labels[0], nan, nan, nan, nan, entry.units[0].format(**words), None, note)


def _quantiles(resamples: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """The middle `level` of the resamples; an order statistic, so that infinite ones do no harm."""
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2], axis=1, method="inverted_cdf")
    return low, high


def _floor(entry: Entry, resamples: FloatArray, level: float) -> FloatArray:
    upper = np.quantile(resamples, level, axis=1, method="inverted_cdf")
    lower = np.quantile(resamples, 1 - level, axis=1, method="inverted_cdf")
    return np.array(
        [
            upper[n] if side == "above" else lower[n] if side == "below" else np.nan
            for n, side in enumerate(entry.rougher)
        ]
    )
