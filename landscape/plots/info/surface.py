"""What a picture of a surface shows, as a record: computed once, checked by tests, drawn by any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info.verdict import Found, Verdict, verdict_words, verdicts_of
from landscape.plots.info.words import X_LABEL, Y_LABEL, ValueText, value_text, written
from landscape.plots.titles import image_words, surface_subtitle, surface_title
from landscape.surface import BETTER, VALUE_NAMES, Surface, SurfacePoint

FEWEST_LEVELS = 20
"""Contour lines through a value with fewer levels are stairs of the lines' own making."""


def few_levels(z: FloatArray) -> int:
    """How many levels a value has, if they are too few for contour lines; else 0.

    Top-1 on 200 images comes in steps of half a percent: there are two to `FEWEST_LEVELS` levels, each on two points
    or more on average.
    """
    finite = z[np.isfinite(z)]
    levels = len(np.unique(finite))
    return levels if 1 < levels < FEWEST_LEVELS and 2 * levels <= finite.size else 0


@dataclass(frozen=True, eq=False)
class ValueInfo:
    """One value on the grid, in the unit of its label.

    Attributes:
        name: Key of the value in the surface.
        text: Label, unit and digits.
        z: Values, shape (n,) or (n, m); NaN where not computed.
        low: Lower end of the paired interval of z minus the centre's z, same shape; None without per-image data.
        high: Upper end, likewise.
        centre: Value at the centre; NaN if not computed.
        best: The best computed point; None if there is none or the value has no better or worse.
        float_level: Value of the untouched float network; None if unknown.
        levels: Number of distinct values where they are too few for contour lines (`few_levels`), else 0.
    """

    name: str
    text: ValueText
    z: FloatArray
    low: FloatArray | None
    high: FloatArray | None
    centre: float
    best: SurfacePoint | None
    float_level: float | None
    levels: int = 0

    @property
    def levels_words(self) -> str:
        """Why there are no contour lines; empty where there are."""
        return f"{self.levels} distinct values: no contour lines" if self.levels else ""

    @property
    def limits(self) -> tuple[float, float] | None:
        """Smallest and largest finite value, interval included; None when there is none."""
        shown = [self.z]
        if self.low is not None and self.high is not None:
            shown += [self.centre + self.low, self.centre + self.high]
        finite = np.concatenate([part[np.isfinite(part)] for part in shown])
        return (float(finite.min()), float(finite.max())) if finite.size else None

    @property
    def float_in_range(self) -> bool:
        """Whether the float network's value lies among the shown ones, so that a line for it fits the picture."""
        return (
            self.float_level is not None
            and self.limits is not None
            and (self.limits[0] <= self.float_level <= self.limits[1])
        )

    def write(self, number: float, *, signed: bool = False) -> str:
        """A number with this value's digits."""
        return written(number, self.text.decimals, signed=signed)


@dataclass(frozen=True, eq=False)
class SurfaceInfo:
    """Everything a drawing of a surface needs.

    Attributes:
        x: Coordinates along d1, shape (n,), as fractions: 0.05 is drawn as +5%.
        y: Coordinates along d2, shape (m,); None on a line.
        x_label: Label of the first axis.
        y_label: Label of the second axis.
        title: Network and what is moved.
        subtitle: Where the numbers come from: direction, images, seed, points.
        values: What can be shown, in the order of the buttons.
        centre_index: Position of the calibrated network on the grid.
        images: Number of images behind the intervals; None if unknown.
        images_are: What they are, in a word: "test", "training".
        level: Coverage of the intervals.
        verdicts: Whether values are rough beyond the noise of the images, by name; the subtitle says so too. Empty
            where nobody has looked.
    """

    x: FloatArray
    y: FloatArray | None
    x_label: str
    y_label: str
    title: str
    subtitle: str
    values: Mapping[str, ValueInfo]
    centre_index: tuple[int, ...]
    images: int | None
    images_are: str
    level: float
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    def chosen(self, name: str) -> ValueInfo:
        """The value of that name.

        Raises:
            UserError: If the picture does not show it.
        """
        if name not in self.values:
            raise UserError(f"this picture has no value '{name}'; it has {', '.join(self.values)}")
        return self.values[name]


def surface_info(
    surface: Surface, values: Sequence[str] = VALUE_NAMES, level: float = 0.95, found: Found | None = None
) -> SurfaceInfo:
    """Collect what a picture of `surface` shows.

    Args:
        surface: The surface.
        values: Names of the values to show, in this order.
        level: Coverage of the paired bootstrap intervals (`Surface.interval`).
        found: What `landscape.roughness.jaggedness_of_values` says of the surface, to be told in the subtitle.

    Raises:
        UserError: If the surface lacks one of the values.
    """
    verdicts = verdicts_of(found or {})
    return SurfaceInfo(
        x=surface.alpha,
        y=surface.beta,
        x_label=Y_LABEL if surface.settings.get("cut") == 2 else X_LABEL,
        y_label=Y_LABEL,
        title=surface_title(surface),
        subtitle="; ".join(part for part in (surface_subtitle(surface), verdict_words(verdicts)) if part),
        values={name: _value_info(surface, name, level) for name in values},
        centre_index=surface.centre_index,
        images=_image_count(surface, values),
        images_are=image_words(surface.settings),
        level=level,
        verdicts=verdicts,
    )


def _value_info(surface: Surface, name: str, level: float) -> ValueInfo:
    if name not in surface.values:
        raise UserError(f"this surface has no value '{name}'; it has {', '.join(surface.values)}")
    text = value_text(name).on(image_words(surface.settings))
    z = surface.values[name] * text.factor
    low = high = None
    if name in surface.per_image:
        low, high = (end * text.factor for end in surface.interval(name, level=level))
    float_level = (surface.reference.get("float") or {}).get(name)
    return ValueInfo(
        name=name,
        text=text,
        z=z,
        low=low,
        high=high,
        centre=float(z[surface.centre_index]),
        best=_best(surface, name),
        float_level=None if float_level is None else float(float_level) * text.factor,
        levels=few_levels(z),
    )


def _best(surface: Surface, name: str) -> SurfacePoint | None:
    if name not in BETTER or np.isnan(surface.values[name]).all():
        return None
    return surface.best(name)


def _image_count(surface: Surface, values: Sequence[str]) -> int | None:
    kept = [name for name in values if name in surface.per_image]
    return int(np.shape(surface.per_image[kept[0]])[-1]) if kept else None
