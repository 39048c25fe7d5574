"""What moves, copies or drops numbers and changes none: functions for `view` nodes, of tensors of any number type."""

from __future__ import annotations

import torch
from torch import Tensor

PADDINGS = ("reflect", "replicate", "circular")
"""Ways to pad with numbers of the value itself."""


def taken(x: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """Numbers along the last axes.

    Args:
        x: Any shape.
        places: For each of the last axes which of its numbers to take, int64.
    """
    for axis, chosen in enumerate(places, start=x.ndim - len(places)):
        x = x.index_select(axis, chosen.to(x.device))
    return x


def padding_places(length: int, before: int, after: int, mode: str) -> Tensor:
    """Which numbers of an axis stand along the padded axis, int64 (before + length + after,).

    Args:
        length: Of the axis.
        before: Numbers added in front.
        after: Numbers added behind.
        mode: One of `PADDINGS`.
    """
    places = torch.arange(-before, length + after)
    if mode == "circular":
        return places % length
    if mode == "replicate":
        return places.clamp(0, length - 1)
    return length - 1 - (length - 1 - places.abs()).abs()


def windows(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The windows of images one after the other, as ``torch.nn.functional.unfold`` of a padded image.

    Args:
        x: (N, C, H, W).
        rows: int64 (windows down, kernel height): which rows a window takes.
        columns: int64 (windows across, kernel width).

    Returns:
        (N, C * kernel height * kernel width, windows).
    """
    (down, high), (across, wide) = rows.shape, columns.shape
    found = taken(x, (rows.reshape(-1), columns.reshape(-1))).reshape(*x.shape[:2], down, high, across, wide)
    return found.permute(0, 1, 3, 5, 2, 4).reshape(x.shape[0], -1, down * across)
