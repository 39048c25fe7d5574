"""What flows between nodes of the native engine: small integers in place of float64 ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.engine.values import Codes


class RawCodes(Codes):
    """A quantized value held as its unsigned codes.

    Args:
        codes: uint8.
        zero_point: Taken off, it gives the integers.
        scale: Positive.
    """

    codes: Tensor
    zero_point: int

    def __init__(self, codes: Tensor, zero_point: int, scale: float) -> None:
        for name, value in (("codes", codes), ("zero_point", zero_point), ("scale", scale)):
            object.__setattr__(self, name, value)

    @property
    def integers(self) -> Tensor:  # a field of the base class, computed here
        """Codes with the zero point taken off, int16."""
        return self.codes.to(torch.int16) - self.zero_point

    @property
    def held(self) -> Tensor:
        """The codes."""
        return self.codes

    def holding(self, tensor: Tensor) -> Codes:
        """A value of the same meaning that holds other codes."""
        return RawCodes(tensor, self.zero_point, self.scale)

    def packed(self) -> Codes:
        """Itself: nothing is smaller."""
        return self

    def unpacked(self) -> Codes:
        """Itself: the kernels read codes."""
        return self


class SmallIntegers(Codes):
    """A quantized value whose integers are small: int16 (codes with power-of-two factors), int32 (exact images)."""

    def holding(self, tensor: Tensor) -> Codes:
        """A value of the same meaning that holds other integers."""
        return SmallIntegers(tensor, self.scale)

    def packed(self) -> Codes:
        """Itself."""
        return self

    def unpacked(self) -> Codes:
        """Itself: the kernels read small integers."""
        return self


class Deferred(Codes):
    """A layer's value that its only reader, an activation function, is to compute together with its own.

    Args:
        x: The layer's input.
        compute: Computes the value, float64, for whoever asks for it after all.
    """

    x: RawCodes
    deferred = True

    def __init__(self, x: RawCodes, compute: Callable[[], Tensor]) -> None:
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "_compute", compute)
        object.__setattr__(self, "scale", 1.0)

    @property
    def integers(self) -> Tensor:
        """The input's, for its size in a cache."""
        return self.x.codes

    @property
    def held(self) -> Tensor:
        """The layer's float64 value: its codes are not known."""
        return self.value()

    def holding(self, tensor: Tensor) -> Codes:
        """Numbers as codes of scale 1."""
        return Codes(tensor, 1.0)

    def value(self) -> Tensor:
        """The layer's float64 value."""
        compute: Callable[[], Tensor] = self._compute  # type: ignore[attr-defined]
        return compute()

    def packed(self) -> Codes:
        """Itself."""
        return self

    def unpacked(self) -> Codes:
        """Itself."""
        return self
