"""Small surfaces with known values for the tests of the record and its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.surface import Surface

SETTINGS: dict[str, Any] = {
    "model": "deit_tiny_patch16_224",
    "bits": "w4a8",
    "block": 5,
    "layers": None,
    "which": "weight",
    "direction": "gaussian",
    "images": 40,
    "calib_images": 1000,
    "seed": 3,
    "radius": 0.05,
    "points": 5,
}


def line(points: int = 5, images: int = 40, **changes: Any) -> Surface:
    """A line whose means follow from its per-image values."""
    return _surface((points,), images, changes)


def grid(points: int = 5, other: int = 7, images: int = 40, **changes: Any) -> Surface:
    """A grid, by default not square, so that swapped axes show."""
    return _surface((points, other), images, changes)


def with_gaps(surface: Surface, computed: np.ndarray) -> Surface:
    """The same surface where only some points are computed."""
    return Surface(
        surface.alpha,
        surface.beta,
        {name: np.where(computed, value, np.nan) for name, value in surface.values.items()},
        {name: np.where(computed[..., None], value, np.nan) for name, value in surface.per_image.items()},
        surface.settings,
        surface.reference,
    )


def _surface(shape: tuple[int, ...], images: int, changes: dict[str, Any]) -> Surface:
    generator = np.random.default_rng(11)
    axes = [np.arange(n) - n // 2 for n in shape]
    per_image = {
        "loss": generator.gamma(1.0, size=(*shape, images)),
        "top1": (generator.random((*shape, images)) < 0.8).astype(np.float64),
        "infonce": generator.normal(2.7, 0.1, size=(*shape, images)),
    }
    distance = np.sqrt(sum(axis**2.0 for axis in np.meshgrid(*axes, indexing="ij")))
    values = {name: samples.mean(axis=-1) for name, samples in per_image.items()}
    values["top1"] = 100 * values["top1"]
    values["flip_rate"] = 0.01 * distance
    coordinates = [0.025 * axis for axis in axes]
    fields: dict[str, Any] = {
        "alpha": coordinates[0],
        "beta": coordinates[1] if len(shape) == 2 else None,
        "values": values,
        "per_image": per_image,
        "settings": SETTINGS,
        "reference": {"float": {"loss": 0.9, "top1": 81.1}},
    }
    return Surface(**{**fields, **changes})
