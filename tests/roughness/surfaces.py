"""Synthetic surfaces with known answers."""

from __future__ import annotations

import numpy as np

from landscape.surface import Surface

AXIS = 0.05 * np.arange(-20, 21) / 20
"""A line of 41 points from -0.05 to 0.05, the centre exactly on it."""


def line(population: np.ndarray, images: int, seed: int, noise: float = 0.3, hardness: float = 1.0) -> Surface:
    """A line whose images are its population, an offset of each image, and independent noise at each point."""
    generator = np.random.default_rng(seed)
    samples = population[:, None] + noise * generator.normal(size=(len(population), images))
    samples += hardness * generator.normal(size=images)
    return of_samples(samples)


def of_samples(samples: np.ndarray, **fields: object) -> Surface:
    """The surface of per-image losses, on a line or in a plane of the grid -1 to 1 (41 points: `AXIS`)."""
    axes = [AXIS if n == 41 else np.arange(n) - n // 2 + 0.0 for n in samples.shape[:-1]]
    return Surface(
        axes[0],
        axes[1] if len(axes) == 2 else None,
        {"loss": samples.mean(axis=-1)},
        {"loss": samples},
        **fields,  # type: ignore[arg-type]
    )


def bowl() -> np.ndarray:
    """1 + 10 alpha^2 on `AXIS`."""
    return 1 + 10 * AXIS**2


def jagged(size: float, seed: int = 7) -> np.ndarray:
    """A bowl with independent normal steps of a size on it."""
    return bowl() + size * np.random.default_rng(seed).normal(size=len(AXIS))


def egg_carton(n: int = 33, wells: int = 4, depth: float = 1.0) -> np.ndarray:
    """depth / 4 (2 + cos x + cos y): wells x wells minima at 0, saddles at depth / 2, maxima at depth, n x n points."""
    wave = 1 + np.cos(2 * np.pi * wells * np.arange(n) / (n - 1))
    return depth / 4 * (wave[:, None] + wave[None, :])
