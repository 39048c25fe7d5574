"""How an image becomes the input of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from landscape.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and normalization, in this order.

    Attributes:
        size: height and width of the network's input, in pixels.
        channels: 1 (grey) or 3 (red, green, blue).
        mean: per channel, in units of full white (pixel / 255).
        std: per channel, in the same units.
        resize: the shorter side before the crop, in pixels; None leaves the image as it is.
        crop: side of the centre crop (equal to `size`), in pixels; None accepts only images of `size` x `size`.
        interpolation: how to resize, one of `INTERPOLATIONS`.

    Raises:
        UserError: the numbers contradict each other; they may come from a network's own settings or the command line.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    resize: int | None = None
    crop: int | None = None
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.channels not in (1, 3):
            raise UserError(f"the network takes {self.channels} channels; images have 1 (grey) or 3 (colour)")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise UserError(
                    f"{name} has {len(values)} values; give one, or one for each of {self.channels} channels"
                )
            if not all(math.isfinite(value) for value in values):
                raise UserError(f"{name} is {values}; give finite numbers")
        if min(self.std) <= 0:
            raise UserError(f"std is {self.std}; give positive numbers (1 means no scaling)")
        if self.size < 1:
            raise UserError(f"the crop is {self.size} pixels; give a positive number")
        if self.crop is not None and self.crop != self.size:
            raise ValueError(f"crop {self.crop} differs from the input size {self.size}")
        if self.resize is not None and self.resize < self.size:
            raise UserError(
                f"resize to {self.resize} pixels is smaller than the crop of {self.size}; make it at least that"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"unknown interpolation {self.interpolation!r}; one of {', '.join(INTERPOLATIONS)}")

    def override(
        self,
        resize: int | Literal["none"] | None = None,
        crop: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preprocessing:
        """Return a copy with the user's wishes; None keeps what the network asks for.

        Args:
            resize: shorter side in pixels, or "none" for no resizing.
            crop: side of the centre crop in pixels, which becomes the input size.
            mean: one value for each channel, or a single one for all.
            std: likewise.

        Raises:
            UserError: the result contradicts itself.
        """
        crops = self.crop is not None or crop is not None or resize is not None
        size = self.size if crop is None else crop
        return replace(
            self,
            size=size,
            crop=size if crops else None,
            resize=self.resize if resize is None else (None if resize == "none" else resize),
            mean=self.mean if mean is None else self._per_channel(mean),
            std=self.std if std is None else self._per_channel(std),
        )

    def describe(self) -> str:
        """The input in words, such as "224x224 colour images"."""
        return f"{self.size}x{self.size} {'grey' if self.channels == 1 else 'colour'} images"

    def _per_channel(self, values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values) * self.channels if len(values) == 1 else tuple(values)


def preprocessing_from_config(config: Mapping[str, Any]) -> Preprocessing:
    """Read timm's data settings: `input_size` (C, H, W), `mean`, `std`, `crop_pct` and `interpolation`, each optional.

    As timm does for validation, the shorter side becomes floor(size / crop_pct) before the centre crop. What is absent
    takes ImageNet's customary value, except that without a `crop_pct` nothing is resized or cropped (**ours**): such a
    network has not said what it was trained on, and a wrong guess would lower its accuracy silently.

    Raises:
        UserError: the network's input is not square, or the settings contradict each other.
    """
    channels, height, width = config.get("input_size") or (3, DEFAULT_SIZE, DEFAULT_SIZE)
    if height != width:
        raise UserError(f"the network takes {height}x{width} images; only square inputs are supported")
    crop_pct = config.get("crop_pct")
    mean, std = config.get("mean"), config.get("std")
    return Preprocessing(
        size=height,
        channels=channels,
        mean=tuple(mean) if mean else IMAGENET_MEAN[:channels],
        std=tuple(std) if std else IMAGENET_STD[:channels],
        resize=math.floor(height / crop_pct) if crop_pct else None,
        crop=height if crop_pct else None,
        interpolation=config.get("interpolation") or "bicubic",
    )
