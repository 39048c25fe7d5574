"""What of a surface on N images belongs to the images, and what would be seen again on others.

Every image (every batch, where a loss couples its images: see `landscape.roughness.units`) has its own surface x_i;
the measured one is their mean. For any linear functional c, here a coefficient of a cosine transform, the squared
measured c(mean)^2 exceeds that of the population, in expectation, by var_i(c(x_i)) / N. The difference is an unbiased
estimate of the part that replicates, and equals the mean of c(A) c(B) over all splits of the images into two disjoint
halves A and B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn, idctn
from scipy.stats import spearmanr

from landscape.bootstrap import FloatArray

_GROUPS = 20
_IMAGES_AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class Bands:
    """Power of a surface by wavelength, its constant left out.

    Attributes:
        wavelength: Geometric middle of the band, in coordinates (0.1 is 10 %); shape (B,), falling.
        measured: Mean squared coefficient of the measured surface; shape (B,).
        noise: What of it the choice of images is expected to add; shape (B,).
        share: (measured - noise) / measured; 1 if all replicates, around 0 if nothing does; shape (B,).
        share_error: Its standard error, jackknife over 20 groups of images; shape (B,).
    """

    wavelength: FloatArray
    measured: FloatArray
    noise: FloatArray
    share: FloatArray
    share_error: FloatArray


def replicating_share(samples: FloatArray) -> float:
    """Share of the variance over points that replicates: 1 - noise / measured; negative by chance where all is noise.

    Args:
        samples: Per-image values, shape (..., N), in any unit; points with a value that is not finite are left out.

    Returns:
        At most 1; NaN for fewer than two images or points, or a constant surface.
    """
    table = samples.reshape(-1, samples.shape[-1])
    table = table[np.isfinite(table).all(axis=1)]
    if table.shape[0] < 2 or table.shape[1] < 2:
        return float("nan")
    table = table - table.mean(axis=0)
    measured = float(np.mean(table.mean(axis=1) ** 2))
    noise = float(np.mean(table.var(axis=1, ddof=1)) / table.shape[1])
    return 1 - noise / measured if measured > 0 else float("nan")


def rank_agreement(first: FloatArray, second: FloatArray) -> float:
    """Spearman's rank correlation over the points where both are finite; NaN for fewer than three or for a constant."""
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both], second[both]
    if len(a) < 3 or a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a, b).statistic)


def halves(images: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Weights of two disjoint halves of the images, each of shape (N,) and sum 1; an odd image is in neither."""
    order = np.random.default_rng(seed).permutation(images)
    first, second = np.zeros(images), np.zeros(images)
    first[order[: images // 2]] = second[order[images // 2 : images // 2 * 2]] = 1 / (images // 2)
    return first, second


def replicating_part(samples: FloatArray, lengths: tuple[float, ...]) -> tuple[FloatArray, Bands]:
    """The measured surface with every band of wavelengths shrunk to the share of its power that replicates.

    The Wiener filter on cosine coefficients, in octaves of the wavelength: of all such filters the one with the least
    expected squared error against the population's surface. A band whose share is within its standard error of zero
    is left out (**ours**): estimated shares scatter around zero where all is noise, and half of them are positive.

    Args:
        samples: Per-image values, shape (n, N) or (n, m, N), all finite, N >= 2.
        lengths: Extent of each axis in coordinates, half a cell beyond the outer points included.

    Returns:
        The estimate, its mean over the points zero, shape (n,) or (n, m); and the power by band.
    """
    shape, images = samples.shape[:-1], samples.shape[-1]
    groups = np.arange(images) * min(_GROUPS, images) // images
    sums, squares = _coefficients(samples, groups)
    frequency = np.sqrt(sum(np.square(each) for each in np.meshgrid(*map(_frequencies, shape, lengths), indexing="ij")))
    band, middles = _octaves(frequency)
    counts = np.bincount(groups)
    measured, noise = _band_powers(sums, squares, counts, band)
    left_out = [_band_powers(*_without(sums, squares, counts, group), band) for group in range(len(counts))]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - noise / measured
        shares = np.array([1 - less / more for more, less in left_out])
        scatter = np.square(shares - shares.mean(axis=0)).sum(axis=0)
    error = np.sqrt(scatter * (len(counts) - 1) / len(counts))
    kept = np.where(share > error, np.clip(share, 0.0, 1.0), 0.0)  # a share within its error of zero is no finding
    weights = np.concatenate([[0.0], kept])[band]
    estimate: FloatArray = idctn(sums.sum(axis=0) / images * weights, norm="ortho")
    return estimate, Bands(1 / middles, measured, noise, share, error)


def _coefficients(samples: FloatArray, groups: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Sums over the images of each group of the cosine coefficients and of their squares, shape (groups, n[, m])."""
    dims = samples.ndim - 1
    shape = (int(groups.max()) + 1, *samples.shape[:-1])
    sums, squares = np.zeros(shape), np.zeros(shape)
    level = samples.mean(axis=tuple(range(dims)))
    for start in range(0, samples.shape[-1], _IMAGES_AT_A_TIME):
        part = slice(start, start + _IMAGES_AT_A_TIME)
        found = np.moveaxis(dctn(samples[..., part] - level[part], axes=range(dims), norm="ortho"), -1, 0)
        np.add.at(sums, groups[part], found)
        np.add.at(squares, groups[part], found**2)
    return sums, squares


def _without(
    sums: FloatArray, squares: FloatArray, counts: np.ndarray, group: int
) -> tuple[FloatArray, FloatArray, np.ndarray]:
    return (np.delete(each, group, axis=0) for each in (sums, squares, counts))  # type: ignore[return-value]


def _band_powers(
    sums: FloatArray, squares: FloatArray, counts: np.ndarray, band: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """Mean squared coefficient of the measured surface and the images' part of it, by band (band 0 left out)."""
    images = counts.sum()
    mean = sums.sum(axis=0) / images
    noise = (squares.sum(axis=0) / images - mean**2) / max(images - 1, 1)
    size = np.bincount(band.ravel())[1:]
    powers = (np.bincount(band.ravel(), each.ravel())[1:] / size for each in (mean**2, noise))
    measured, added = powers
    return measured, added


def _frequencies(points: int, length: float) -> FloatArray:
    """Of the cosine transform, in periods per unit of the coordinate."""
    return np.arange(points) / (2 * length)


def _octaves(frequency: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Number of the octave of each coefficient (0: the constant), and the geometric middle frequency of each."""
    positive = frequency > 0
    lowest = frequency[positive].min()
    band = np.zeros(frequency.shape, dtype=np.int64)
    band[positive] = 1 + np.floor(np.log2(frequency[positive] / lowest) + 1e-9).astype(np.int64)
    used, band = np.unique(band, return_inverse=True)
    band = band.reshape(frequency.shape)
    middles = np.array([np.exp(np.log(frequency[band == each]).mean()) for each in range(1, len(used))])
    return band, middles
