"""A line out of a grid: the cut through the centre along one direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.surface import Surface


def cut(surface: Surface, direction: int = 1) -> Surface:
    """The line through the centre of a grid along d1 or d2; a line is its own cut along d1.

    Args:
        surface: The surface.
        direction: 1 or 2.

    Raises:
        UserError: There is no such direction.
    """
    if direction not in (1, 2) or direction > surface.dims:
        raise UserError(f"--cut {direction} is not possible; this surface has {surface.dims} direction(s)")
    if surface.beta is None:
        return surface
    i, j = surface.centre_index
    where = (slice(None), j) if direction == 1 else (i, slice(None))
    settings = {**surface.settings, "cut": direction}
    return Surface(
        surface.alpha if direction == 1 else surface.beta,
        None,
        {name: value[where] for name, value in surface.values.items()},
        _CutImages(surface.per_image, where),
        settings,
        surface.reference,
    )


class _CutImages(Mapping[str, FloatArray]):
    """Per-image values of a cut, read when they are asked for."""

    def __init__(self, whole: Mapping[str, FloatArray], where: tuple[int | slice, ...]) -> None:
        self._whole, self._where = whole, where

    def __getitem__(self, name: str) -> FloatArray:
        return np.asarray(self._whole[name])[self._where]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)
