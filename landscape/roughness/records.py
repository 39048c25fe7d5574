"""What is known about the roughness of a surface, as plain records: made once, printed, stored or drawn by others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

Side = Literal["above", "below"]


@dataclass(frozen=True)
class Measure:
    """One measure of a surface, with the interval of its images and the level that noise alone would reach.

    Attributes:
        name: Key, such as ``second_difference``.
        label: The same in words.
        value: Of the surface as measured, on its N images.
        low: Lower end of the interval: where the measure might have fallen with N other images of the same source.
        high: Upper end.
        floor: What a smooth population surface would show on N images by noise alone, 19 times of 20 at level 0.95: an
            upper bound where rough surfaces have large values (`rougher` is ``above``), else a lower one. NaN where the
            measure says nothing about noise.
        unit: Of the four numbers.
        rougher: On which side of the floor a surface is rough; None without a floor.
        note: Why a number is missing, or what has to be known to read it; else empty.
    """

    name: str
    label: str
    value: float
    low: float
    high: float
    floor: float
    unit: str
    rougher: Side | None
    note: str = ""

    @property
    def rough(self) -> bool | None:
        """Whether the value lies beyond its floor: more than a bowl and noise show; None where either is unknown."""
        if self.rougher is None or math.isnan(self.value) or math.isnan(self.floor):
            return None
        return self.value > self.floor if self.rougher == "above" else self.value < self.floor

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return {**_plain(self), "rough": self.rough}


@dataclass(frozen=True)
class SizeCurve:
    """A squared measure against the number of images.

    Attributes:
        images: Numbers of images, increasing, up to all.
        measured: As measured on disjoint subsets of that size, averaged over the subsets.
        expected: Population estimate + sample part of that many images: what `measured` scatters around.
        population: The limit of infinitely many images, as estimated.
    """

    images: tuple[int, ...]
    measured: tuple[float, ...]
    expected: tuple[float, ...]
    population: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return _plain(self)


@dataclass(frozen=True)
class PopulationEstimate:
    """A squared measure of the population's surface, from which the sample's noise has been taken out.

    Attributes:
        name: Key, such as ``jaggedness``; see `landscape.roughness.forms`.
        label: The same in words.
        unit: Of all squared numbers.
        measured: On the N images; in expectation the population's + `sample_part`.
        sample_part: What the choice of N images adds; it falls as 1/N.
        estimate: Unbiased estimate for infinitely many images: measured - sample_part. Below zero by chance, where the
            population's is near zero.
        low: Lower end of the interval of the population's; at least 0, for a square is not negative.
        high: Upper end.
        standard_error: Of the estimate.
        floor: What would be measured at most, 19 times of 20 at level 0.95, if the population's were zero.
        share: estimate / measured: the part that replicates on other images.
        images: N.
        unit_images: Images of one independent unit: 1, or a batch where the value couples the images of a batch.
        images_needed: For the measured value to be above its floor 4 times of 5 (power 0.8), if the population's is as
            estimated; infinity if that is not positive.
        detectable: Smallest population value that is above the floor of N images 4 times of 5.
        curve: Against the number of images.
    """

    name: str
    label: str
    unit: str
    measured: float
    sample_part: float
    estimate: float
    low: float
    high: float
    standard_error: float
    floor: float
    share: float
    images: int
    unit_images: int
    images_needed: float
    detectable: float
    curve: SizeCurve

    @property
    def above_floor(self) -> bool:
        """Whether more is measured than noise alone would show: then the population's is not zero."""
        return self.measured > self.floor

    @property
    def rms(self) -> float:
        """Root of the estimate in the value's own unit; 0 where the estimate is negative, NaN where it is NaN."""
        return math.sqrt(max(self.estimate, 0.0)) if not math.isnan(self.estimate) else math.nan

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return {**_plain(self), "above_floor": self.above_floor, "rms": _number(self.rms)}


@dataclass(frozen=True)
class Span:
    """A mean over random splits of the images, and the middle 95 % of the splits.

    Attributes:
        mean: Over the splits.
        low: Of the splits, not an interval for the population.
        high: Likewise.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return _plain(self)


@dataclass(frozen=True)
class Replication:
    """The same surface from two disjoint halves of the images, over many random splits.

    Attributes:
        value: Which value.
        unit: Of the roughnesses.
        images: In both halves together.
        splits: Number of random splits.
        values: Correlation over the points of the two halves' values.
        second_differences: Correlation of the two halves' second differences.
        roughness_of_mean: RMS second difference of the halves' mean: population and noise.
        roughness_of_half_difference: RMS second difference of half their difference: noise alone, of the same size as
            in the mean.
    """

    value: str
    unit: str
    images: int
    splits: int
    values: Span
    second_differences: Span
    roughness_of_mean: Span
    roughness_of_half_difference: Span

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return _plain(self)

    def __repr__(self) -> str:
        """Three lines."""
        from landscape.roughness.text import replication_lines

        return "\n".join(replication_lines(self))


@dataclass(frozen=True)
class NoiseFloor:
    """How much of a surface's roughness is the population's, and how much the sample's.

    Attributes:
        value: Which value.
        images: N.
        level: Of intervals and floors.
        estimates: One for each squared measure.
    """

    value: str
    images: int
    level: float
    estimates: tuple[PopulationEstimate, ...]

    def __getitem__(self, name: str) -> PopulationEstimate:
        """The estimate of that name."""
        return {estimate.name: estimate for estimate in self.estimates}[name]

    def __iter__(self) -> Iterator[PopulationEstimate]:
        """Over the estimates."""
        return iter(self.estimates)

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return _plain(self)

    def __repr__(self) -> str:
        """A table."""
        from landscape.roughness.text import noise_floor_lines

        return "\n".join(noise_floor_lines(self))


@dataclass(frozen=True)
class Roughness:
    """All measures of one value of a surface.

    Attributes:
        value: Which value; ``top1`` is measured in percentage points.
        images: N; 0 where the surface keeps no per-image values.
        points: Points that have a value.
        level: Of intervals and floors.
        draws: Resamples behind them.
        seed: Of the resamples.
        measures: One after another.
        diagram: Persistence diagram of the sub-level sets: (birth, death) of each minimum's basin, deepest first; the
            death of the lowest is infinite. Of `top1`, the diagram of the error 100 - top1.
        noise: Population estimates; None without per-image values.
        replication: Of disjoint halves; None without per-image values.
    """

    value: str
    images: int
    points: int
    level: float
    draws: int
    seed: int
    measures: tuple[Measure, ...]
    diagram: tuple[tuple[float, float], ...]
    noise: NoiseFloor | None
    replication: Replication | None

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name."""
        return {measure.name: measure for measure in self.measures}[name]

    @property
    def rough(self) -> bool | None:
        """The verdict: whether the surface is more jagged than noise makes a bowl; None without per-image values.

        One test, at the level of the record, of the mean squared second difference beyond the best quadratic. The
        single measures have floors of their own, and of many measures some exceed theirs by chance.
        """
        found = [each for each in self.noise or () if each.name == "jaggedness"]
        return found[0].above_floor if found else None

    def __iter__(self) -> Iterator[Measure]:
        """Over the measures."""
        return iter(self.measures)

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what is no finite number is None."""
        return {**_plain(self), "rough": self.rough}

    def __repr__(self) -> str:
        """Tables."""
        from landscape.roughness.text import roughness_lines

        return "\n".join(roughness_lines(self))


def _plain(record: Any) -> dict[str, Any]:
    return {field.name: _entry(getattr(record, field.name)) for field in fields(record)}


def _entry(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_entry(entry) for entry in value]
    return _number(value)


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
