"""The noise floor: how much of a surface belongs to the images it was measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.split import Bands, halves, replicating_part, replicating_share
from landscape.plots.info.words import X_LABEL, Y_LABEL, ValueText, value_text, written
from landscape.plots.titles import image_words, surface_subtitle, surface_title
from landscape.roughness.estimate import FEWEST_UNITS
from landscape.roughness.noise_floor import axes_of
from landscape.roughness.replication import replication_of_units
from landscape.roughness.units import Units, image_units
from landscape.surface import Surface


@dataclass(frozen=True, eq=False)
class FloorInfo:
    """A surface beside its noise, all in the unit of `text` and with the mean over the points taken away.

    Attributes:
        x: Coordinates along d1, shape (n,).
        y: Coordinates along d2, shape (m,); None on a line.
        x_label: Label of the first axis.
        y_label: Label of the second axis.
        title: Network and what is moved.
        subtitle: Where the numbers come from.
        name: Of the value.
        text: Its label, unit and digits.
        measured: The surface on all images, shape (n,) or (n, m).
        first: The surface of one random half of the images.
        second: That of the other half.
        noise: Half of first minus second: as large, on average, as what the choice of images adds to `measured`.
        replicating: Estimate of the surface on infinitely many images: `measured`, every band of wavelengths shrunk to
            the share of its power that replicates, where that is more than its standard error (`replicating_part`).
        share: Share of the variance over points that replicates on other images.
        values_correlation: Between the halves' values, mean over 100 random splits.
        bends_correlation: Between the halves' second differences, likewise.
        bands: Power by wavelength.
        images: Number of images.
        seed: Of the split that is shown.
    """

    x: FloatArray
    y: FloatArray | None
    x_label: str
    y_label: str
    title: str
    subtitle: str
    name: str
    text: ValueText
    measured: FloatArray
    first: FloatArray
    second: FloatArray
    noise: FloatArray
    replicating: FloatArray
    share: float
    values_correlation: float
    bends_correlation: float
    bands: Bands
    images: int
    seed: int

    @property
    def limit(self) -> float:
        """Largest distance from zero in any of the maps: the common end of their colours."""
        return max(float(np.abs(each).max()) for each in (self.measured, self.noise, self.replicating)) or 1.0

    @property
    def words(self) -> str:
        """The verdict in one line."""
        share = f"{100 * max(self.share, 0):.0f}% of the variance over points replicates on other images"
        values, bends = (written(each, 2, signed=True) for each in (self.values_correlation, self.bends_correlation))
        return f"{share}; two halves correlate {values} (values), {bends} (second differences)"


def floor_info(surface: Surface, name: str = "loss", seed: int = 0) -> FloorInfo:
    """Collect what the noise-floor picture of one value shows.

    Args:
        surface: A complete surface with at least 3 points along each axis.
        name: The value; it needs per-image data.
        seed: Of the random halves.

    Raises:
        UserError: There is no per-image data, too few points or images, or a value that is not finite.
    """
    units = _units(surface, name)
    text = value_text(name).on(image_words(surface.settings))
    factor = 1.0 if name == "top1" else text.factor
    samples = units.samples * factor
    axes = axes_of(surface)
    lengths = tuple(float((axis[-1] - axis[0]) * len(axis) / (len(axis) - 1)) for axis in axes)
    estimate, bands = replicating_part(samples, lengths)
    first, second = (_without_mean(samples @ weights) for weights in halves(units.count, seed))
    found = replication_of_units(units, axes, splits=100, seed=seed)
    return FloorInfo(
        x=surface.alpha,
        y=surface.beta,
        x_label=Y_LABEL if surface.settings.get("cut") == 2 else X_LABEL,
        y_label=Y_LABEL,
        title=surface_title(surface),
        subtitle=surface_subtitle(surface),
        name=name,
        text=text,
        measured=_without_mean(samples.mean(axis=-1)),
        first=first,
        second=second,
        noise=(first - second) / 2,
        replicating=estimate,
        share=replicating_share(samples),
        values_correlation=found.values.mean,
        bends_correlation=found.second_differences.mean,
        bands=bands,
        images=units.images,
        seed=seed,
    )


def _units(surface: Surface, name: str) -> Units:
    units = image_units(surface, name)
    if min(surface.shape) < 3:
        raise UserError(f"the noise floor needs at least 3 points along each axis; this surface has {surface.shape}")
    if units.count < FEWEST_UNITS:
        what = "images" if units.size == 1 else f"batches of {units.size} images"
        raise UserError(f"the noise floor of {name} needs at least {FEWEST_UNITS} {what}; this run has {units.count}")
    missing = int((~np.isfinite(units.samples).all(axis=-1)).sum())
    if missing:
        raise UserError(
            f"the noise floor needs every point, and {missing} of this surface have no finite '{name}'; "
            "let the scan finish with --resume"
        )
    return units


def _without_mean(z: FloatArray) -> FloatArray:
    rest: FloatArray = z - z.mean()
    return rest
