"""What flows between the nodes of a quantized network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_SMALL = (torch.uint8, torch.int8, torch.int16, torch.int32)


@dataclass(frozen=True)
class Codes:
    """A quantized value: `integers` * `scale`.

    Attributes:
        integers: Codes with the zero point taken off (and PTF's factor multiplied in), in any number type.
        scale: Positive; one for the whole tensor.
    """

    integers: Tensor
    scale: float

    deferred: ClassVar[bool] = False
    """Whether the value is a layer's that is still to be computed; then it has no integers."""

    def value(self) -> Tensor:
        """The number that it stands for, float64."""
        return self.integers.double() * self.scale

    @property
    def held(self) -> Tensor:
        """The tensor that it is held in, element by element."""
        return self.integers

    def holding(self, tensor: Tensor) -> Codes:
        """A value of the same meaning that holds another tensor."""
        return Codes(tensor, self.scale)

    def packed(self) -> Codes:
        """The same in the smallest integer type that holds it, for caches."""
        low, high = int(self.integers.min()), int(self.integers.max())
        for dtype in _SMALL:
            info = torch.iinfo(dtype)
            if info.min <= low and high <= info.max:
                return Codes(self.integers.to(dtype), self.scale)
        return self

    def unpacked(self) -> Codes:
        """The same with float64 integers."""
        return Codes(self.integers.double(), self.scale)


Value = Codes | Tensor
"""A quantized value, or a float64 tensor where nothing is quantized."""


def as_float(value: Value) -> Tensor:
    """The number that a value stands for, float64."""
    return value.value() if isinstance(value, Codes) else value


def masked(x: Codes, mask: Tensor) -> Codes | None:
    """Logits with a mask added that is rounded to their scale, int32; None where it does not fit."""
    added = torch.round(mask / x.scale)
    if not bool((added.abs() < 2.0**30).all()):
        return None
    return Codes(x.integers.to(torch.int32) + added.to(torch.int32), x.scale)


def rows_of(value: Value, rows: Sequence[int], count: int, axis: int | None) -> Value:
    """The value of some of `count` images; an axis holds the images, or a multiple of them (windows), or none does."""
    if axis is None:
        return value
    tensor = (value.held if isinstance(value, Codes) else value).movedim(axis, 0)
    picked = tensor.reshape(count, -1, *tensor.shape[1:])[list(rows)].reshape(-1, *tensor.shape[1:]).movedim(0, axis)
    return value.holding(picked) if isinstance(value, Codes) else picked


def joined(values: Sequence[Value], axis: int | None) -> Value:
    """The values of several lists of images as one, of one scale and kind; the images lie along an axis, if any."""
    first = values[0]
    if axis is None:
        return first
    tensor = torch.cat([value.held if isinstance(value, Codes) else value for value in values], axis)
    return first.holding(tensor) if isinstance(first, Codes) else tensor
