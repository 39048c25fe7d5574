"""Paired bootstrap over images: how far a difference of means could be moved by the choice of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MULTIPLIERS = 1
"""Second seed of the multipliers."""

_COUNTS_PER_BLOCK = 4_000_000
"""Resampling counts held at a time (float64, so 32 MB)."""


def bootstrap_means(differences: FloatArray, draws: int, seed: int) -> FloatArray:
    """Means of resampled images, for all points with the same resamples.

    One draw takes N images with replacement; the counts of the images in a draw are multinomial, so all means are
    one matrix product. Every point sees the same draws.

    Args:
        differences: Per-image values, shape (points, N).
        draws: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        Means, shape (points, draws). A row that holds a non-finite value is NaN throughout.

    Raises:
        ValueError: If `differences` is not two-dimensional with at least one image, or `draws` is not positive.
    """
    if differences.ndim != 2 or differences.shape[1] == 0:
        raise ValueError(f"differences have shape {differences.shape}; expected (points, images) with images > 0")
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1")
    usable = np.isfinite(differences).all(axis=1)
    means = np.full((len(differences), draws), np.nan)
    images = differences.shape[1]
    generator = np.random.default_rng(seed)
    block = max(1, _COUNTS_PER_BLOCK // images)
    kept = differences[usable]
    for start in range(0, draws, block):
        stop = min(start + block, draws)
        means[usable, start:stop] = kept @ bootstrap_counts(images, stop - start, generator).T / images
    return means


def multiplier_noise(samples: FloatArray, draws: int, seed: int) -> FloatArray:
    """What the choice of units could add to their mean: sum_i g_i (x_i - mean) / sqrt(n (n - 1)), g_i normal.

    The multiplier bootstrap: normal, and of exactly the estimated covariance S / n between points, also for few units,
    where resampling with replacement would often draw the same ones (and has only (n - 1) / n of it).

    Args:
        samples: Shape (points, n), n > 1.
        draws: Number of resamples.
        seed: Of the multipliers, which all points share.

    Returns:
        Noise around zero, shape (points, draws). A row that holds a non-finite value is NaN throughout.
    """
    units = samples.shape[1]
    usable = np.isfinite(samples).all(axis=1)
    centred = samples[usable] - samples[usable].mean(axis=1, keepdims=True)
    generator = np.random.default_rng([seed, _MULTIPLIERS])  # never the stream that made the samples
    noise = np.full((len(samples), draws), np.nan)
    block = max(1, _COUNTS_PER_BLOCK // units)
    for start in range(0, draws, block):
        multipliers = generator.standard_normal((min(block, draws - start), units))
        noise[usable, start : start + len(multipliers)] = centred @ multipliers.T / np.sqrt(units * (units - 1))
    return noise


def bootstrap_counts(images: int, draws: int, generator: np.random.Generator) -> FloatArray:
    """How often each image is in each resample, shape (draws, images); rows sum to `images`."""
    return generator.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float64)


def bootstrap_interval(
    differences: FloatArray, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Percentile interval of the mean over images (Efron's percentile bootstrap).

    Args:
        differences: Per-image values, shape (points, N).
        level: Coverage asked for, between 0 and 1.
        draws: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        Lower and upper ends, each of shape (points,); NaN where a point has a non-finite value.

    Raises:
        ValueError: If `level` is not between 0 and 1, or for the reasons of `bootstrap_means`.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    means = bootstrap_means(differences, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high
