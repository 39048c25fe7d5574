"""The independent units behind a surface: its images, or batches of images where a value couples them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.surface import BETTER, Surface

COUPLED = ("infonce",)
"""Values in which an image's own number depends on the other images of its batch; with or without ``@temperature``."""

DEFAULT_BATCH = 100
"""Images in a batch of infoNCE where the settings of a run do not say."""

UNITS = {
    "loss": "nats",
    "top1": "points",
    "infonce": "nats",
    "mse": "squared logits",
    "kl": "nats",
    "cosine": "",
    "fisher": "squared logits",
}
"""Units of values; of top-1 percentage points."""


@dataclass(frozen=True, eq=False)
class Units:
    """Values of one surface by unit.

    Attributes:
        name: Which value.
        samples: In the value's unit (percentage points for top-1), shape (n, units) or (n, m, units); NaN at missing
            points. Their mean over the units is the surface.
        size: Images in a unit: 1, or those of a batch.
        images: All images.
    """

    name: str
    samples: FloatArray
    size: int
    images: int

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.samples.shape[-1])

    @property
    def mean(self) -> FloatArray:
        """The surface, of the grid's shape."""
        return np.asarray(self.samples.mean(axis=-1))


def base_name(value: str) -> str:
    """A value without its temperature: ``infonce`` of ``infonce@0.5``."""
    return value.partition("@")[0]


def is_coupled(value: str) -> bool:
    """Whether an image's value depends on the other images of its batch."""
    return base_name(value) in COUPLED


def unit_of(value: str) -> str:
    """Unit of a value, percentage points for top-1; empty where unknown."""
    return UNITS.get(base_name(value), "")


def lower_is_better(value: str) -> bool:
    """Whether good points are minima: all values but those with `BETTER` +1, such as top-1."""
    return BETTER.get(base_name(value), -1) < 0


def image_units(surface: Surface, value: str, images: int | None = None, batches: bool | None = None) -> Units:
    """The units of a surface's value.

    An image of infoNCE is contrasted with its batch, so that images of one batch are not independent: the unit is the
    batch, and the unit's value its mean. Batches are those of `landscape.losses.info_nce`.

    Args:
        surface: With per-image values.
        value: Which value.
        images: Only the first so many (images lie in the random order in which they were drawn, so that smaller sets
            are nested in larger ones); whole batches, as many as fit.
        batches: Whether to use batches for any value; by default for coupled ones only.

    Raises:
        UserError: There is no such value, it has no per-image data, or there are fewer images.
    """
    if value not in surface.values and value not in surface.per_image:
        raise UserError(f"this surface has no value '{value}'; it has {', '.join(surface.values) or 'none'}")
    if value not in surface.per_image:
        raise UserError(f"this surface keeps no per-image '{value}', of which a noise floor is made")
    samples = np.asarray(surface.per_image[value], dtype=np.float64)
    if samples.shape[:-1] != surface.shape:
        raise ValueError(f"per-image '{value}' has shape {samples.shape}; expected {surface.shape} and the images")
    if value == "top1":
        samples = 100.0 * samples
    total = samples.shape[-1]
    if images is not None and not 1 <= images <= total:
        raise UserError(f"{images} images are asked for, and the run has {total}; give 1 to {total}")
    wanted = images or total
    if not (is_coupled(value) if batches is None else batches):
        return Units(value, samples[..., :wanted], 1, wanted)
    return _batches(value, samples, wanted, int(surface.settings.get("infonce_batch") or DEFAULT_BATCH))


def _batches(value: str, samples: FloatArray, wanted: int, size: int) -> Units:
    total = samples.shape[-1]
    edges = [part[0] for part in np.array_split(np.arange(total), -(-total // size))] + [total]
    whole = [(start, stop) for start, stop in pairwise(edges) if stop <= wanted]
    if not whole:
        raise UserError(f"{wanted} images hold no whole batch of {edges[1]}; the images of a batch are not independent")
    means = np.stack([samples[..., start:stop].mean(axis=-1) for start, stop in whole], axis=-1)
    used = int(whole[-1][1])
    return Units(value, means, max(1, round(used / len(whole))), used)
