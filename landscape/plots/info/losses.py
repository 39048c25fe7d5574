"""Several losses of one surface side by side: do they have the same valleys, and are those of the images or not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from landscape.errors import UserError
from landscape.plots.info.split import rank_agreement, replicating_share
from landscape.plots.info.surface import SurfaceInfo, surface_info
from landscape.plots.info.words import written
from landscape.roughness.estimate import FEWEST_UNITS
from landscape.roughness.units import image_units, lower_is_better
from landscape.surface import Surface


@dataclass(frozen=True, eq=False)
class LossesInfo:
    """The losses of one surface.

    Attributes:
        surface: The record of the surface, with these losses in this order.
        reference: Name of the loss that the others are compared with.
        agreement: Spearman's rank correlation over the points with the reference, signs turned so that +1 means that
            both get better together; NaN where it has none.
        replicates: Share of a loss's variance over the points that replicates on other images (`replicating_share`);
            NaN without per-image values.
    """

    surface: SurfaceInfo
    reference: str
    agreement: Mapping[str, float]
    replicates: Mapping[str, float]

    @property
    def title(self) -> str:
        """That of the surface."""
        return self.surface.title

    @property
    def subtitle(self) -> str:
        """That of the surface, and what the marks mean: there is no room for a legend."""
        marks = ["cross: centre", "star: best"]
        if self.surface.y is None:
            marks.append(f"band: {100 * self.surface.level:g}% paired interval")
            if any(shown.float_in_range for shown in self.surface.values.values()):
                marks.append("dashed: float network")
        return f"{self.surface.subtitle}; {', '.join(marks)}"

    def words(self, name: str) -> str:
        """The two numbers of a loss, for below its name."""
        parts = []
        if name != self.reference and np.isfinite(self.agreement[name]):
            reference = self.surface.values[self.reference].text.short
            parts.append(f"rank correlation with {reference} {written(self.agreement[name], 2, signed=True)}")
        if np.isfinite(self.replicates[name]):
            parts.append(f"{100 * max(self.replicates[name], 0):.0f}% of its variance replicates")
        return "; ".join(parts)


def losses_info(surface: Surface, names: Sequence[str] | None = None, level: float = 0.95) -> LossesInfo:
    """Collect what a picture of several losses shows.

    Args:
        surface: The surface.
        names: Losses in order, the first is the reference; by default all values but the flip rate.
        level: Coverage of the intervals.

    Raises:
        UserError: The surface lacks one of them, or there is none.
    """
    chosen = list(names) if names else [name for name in surface.names if name != "flip_rate"]
    if not chosen:
        raise UserError("this surface has no loss to show; scan it with --losses loss,top1,infonce")
    record = surface_info(surface, chosen, level)
    first = chosen[0]
    agreement = {
        name: _sign(name) * _sign(first) * rank_agreement(surface.values[first], surface.values[name])
        for name in chosen
    }
    replicates = {name: _replicates(surface, name) for name in chosen}
    return LossesInfo(record, first, agreement, replicates)


def _replicates(surface: Surface, name: str) -> float:
    if name not in surface.per_image:
        return float("nan")
    units = image_units(surface, name)
    return replicating_share(units.samples) if units.count >= FEWEST_UNITS else float("nan")


def _sign(name: str) -> int:
    return 1 if not lower_is_better(name) else -1
