"""What flows between nodes of the portable engine: codes in one byte each, in place of float64 integers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.engine.values import Codes


class _InBytes(Codes):
    """A quantized value held as its unsigned codes, uint8."""

    codes: Tensor
    zero_point: int
    factors: Tensor | None

    def __init__(self, codes: Tensor, zero_point: int, scale: float, factors: Tensor | None = None) -> None:
        parts = (("codes", codes), ("zero_point", zero_point), ("scale", scale), ("factors", factors))
        for name, value in parts:
            object.__setattr__(self, name, value)

    @property
    def integers(self) -> Tensor:  # a field of the base class, computed here
        """Codes with the zero point taken off and the factors multiplied in, int16."""
        centred = self.codes.to(torch.int16) - self.zero_point
        return centred if self.factors is None else centred * self._along_channels(self.factors.to(torch.int16))

    def _along_channels(self, factors: Tensor) -> Tensor:
        """Factors in a shape that fits the codes."""
        raise NotImplementedError

    @property
    def held(self) -> Tensor:
        """The codes."""
        return self.codes

    def holding(self, tensor: Tensor) -> Codes:
        """A value of the same meaning with other codes."""
        return type(self)(tensor, self.zero_point, self.scale, self.factors)

    def packed(self) -> Codes:
        """Itself: nothing is smaller."""
        return self

    def unpacked(self) -> Codes:
        """Itself: the kernels read codes."""
        return self


class Bytes(_InBytes):
    """A quantized value held as its unsigned codes: (code - zero point) * factor * scale.

    Args:
        codes: uint8.
        zero_point: 0 to 255.
        scale: Positive.
        factors: With power-of-two factors, float32 (channels,) along the last axis; else None.
    """

    def with_codes(self, codes: Tensor) -> Bytes:
        """A value of the same meaning with other codes."""
        return Bytes(codes, self.zero_point, self.scale, self.factors)

    def _along_channels(self, factors: Tensor) -> Tensor:
        return factors


class ImageBytes(_InBytes):
    """The same of images (N, C, H, W) with factors that belong to their channels, float32 (C,).

    Views turn it into `Bytes` where they move the channels to the last axis; all else takes its integers.
    """

    def _along_channels(self, factors: Tensor) -> Tensor:
        return factors[:, None, None]


class Powers(Codes):
    """What Log-Int-Softmax gives: 2^-code, and 0 where the code is larger than `smallest`.

    Args:
        codes: uint8.
        smallest: The largest code but that of 0; integers are in units of 2^-smallest.
    """

    codes: Tensor
    smallest: int

    def __init__(self, codes: Tensor, smallest: int) -> None:
        for name, part in (("codes", codes), ("smallest", smallest), ("scale", 2.0**-smallest)):
            object.__setattr__(self, name, part)

    @property
    def integers(self) -> Tensor:  # a field of the base class, computed here
        """Powers of two, int32."""
        shift = self.smallest - self.codes.to(torch.int32)
        return torch.where(shift < 0, 0, 1 << shift.clamp(min=0))

    @property
    def held(self) -> Tensor:
        """The codes."""
        return self.codes

    def holding(self, tensor: Tensor) -> Codes:
        """A value of the same meaning with other codes."""
        return Powers(tensor, self.smallest)

    def packed(self) -> Codes:
        """Itself: nothing is smaller."""
        return self

    def unpacked(self) -> Codes:
        """Itself: the kernels read codes."""
        return self


class Pending(Codes):
    """The value of a layer, sum or product that its only reader, an activation function, computes with its own.

    Args:
        x: The input.
        compute: Computes the value, float64, from the inputs, for whoever asks for it after all.
        y: The second operand, for as many images.
    """

    x: Bytes
    y: Bytes | None
    compute: Callable[..., Tensor]
    deferred = True

    def __init__(self, x: Bytes, compute: Callable[..., Tensor], y: Bytes | None = None) -> None:
        for name, part in (("x", x), ("y", y), ("compute", compute), ("scale", 1.0)):
            object.__setattr__(self, name, part)

    @property
    def held(self) -> Tensor:
        """The input's codes; those of two side by side, image by image."""
        return self.x.codes if self.y is None else torch.cat([self.x.codes.flatten(1), self.y.codes.flatten(1)], 1)

    def holding(self, tensor: Tensor) -> Codes:
        """The value on other codes."""
        if self.y is None:
            return Pending(self.x.with_codes(tensor), self.compute)
        shapes = self.x.codes.shape[1:], self.y.codes.shape[1:]
        parts = torch.split(tensor, [shape.numel() for shape in shapes], 1)
        first, second = (part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
        return Pending(self.x.with_codes(first), self.compute, self.y.with_codes(second))

    def value(self) -> Tensor:
        """The value, float64."""
        return self.compute(self.x) if self.y is None else self.compute(self.x, self.y)

    def packed(self) -> Codes:
        """Itself: the inputs are smaller than the value."""
        return self

    def unpacked(self) -> Codes:
        """Itself."""
        return self
