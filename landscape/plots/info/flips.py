"""The code-flip rate over the surface, and how the loss changes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.plots.info.surface import SurfaceInfo, surface_info
from landscape.surface import Surface


@dataclass(frozen=True, eq=False)
class FlipsInfo:
    """Flip rates, and a loss against them.

    Attributes:
        surface: Record of the surface, with the flip rate and the loss.
        name: Of the loss.
        flips: Flip rate of every finite point, in percent of the codes, falling nowhere; shape (P,).
        change: Change of the loss from the centre at those points, in the loss's unit; shape (P,).
        low: Lower ends of its paired interval; None without per-image values.
        high: Upper ends.
    """

    surface: SurfaceInfo
    name: str
    flips: FloatArray
    change: FloatArray
    low: FloatArray | None
    high: FloatArray | None

    @property
    def title(self) -> str:
        """That of the surface."""
        return self.surface.title

    @property
    def subtitle(self) -> str:
        """That of the surface."""
        return self.surface.subtitle


def flips_info(surface: Surface, name: str = "loss", level: float = 0.95) -> FlipsInfo:
    """Collect the flip rates of a surface and the change of a loss at them.

    Raises:
        UserError: The surface lacks the flip rate or the loss.
    """
    record = surface_info(surface, ("flip_rate", name), level)
    flips, shown = record.values["flip_rate"].z.ravel(), record.values[name]
    change = (shown.z - shown.centre).ravel()
    known = np.flatnonzero(np.isfinite(flips) & np.isfinite(change))
    order = known[np.argsort(flips[known], kind="stable")]
    low, high = (None if end is None else end.ravel()[order] for end in (shown.low, shown.high))
    return FlipsInfo(record, name, flips[order], change[order], low, high)
