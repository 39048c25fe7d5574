"""What replicates and what does not: against surfaces whose population is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from landscape.plots.info.split import halves, rank_agreement, replicating_part, replicating_share


def _samples(population: np.ndarray, noise: float, images: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    level = generator.normal(0.0, 5.0, images)  # an image is hard or easy everywhere: no roughness
    return population[..., None] + level + noise * generator.normal(size=(*population.shape, images))


def test_the_share_is_unbiased_over_many_draws():
    """Population variance 0.5 (a cosine), noise variance of the mean 4 / 40 = 0.1: measured 0.6, share 0.5 / 0.6."""
    wave = np.cos(2 * np.pi * np.arange(64) / 64)
    numerators, denominators = [], []
    for seed in range(400):
        samples = _samples(wave, 2.0, 40, seed)
        curve = samples.mean(axis=1)
        measured = np.mean((curve - curve.mean()) ** 2)
        numerators.append(replicating_share(samples) * measured)
        denominators.append(measured)
    assert np.mean(numerators) == pytest.approx(0.5, abs=0.01)
    assert np.mean(denominators) == pytest.approx(0.5 + 0.1 * 63 / 64, abs=0.01)


def test_the_share_of_pure_noise_scatters_around_zero():
    shares = [replicating_share(_samples(np.zeros(30), 1.0, 50, seed)) for seed in range(200)]
    # -2/27 is the mean of 1 - 1/F for F with (29, many) degrees of freedom
    assert abs(np.mean(shares) + 2 / 27) < 0.06


def test_the_share_is_one_minus_noise_over_measured_by_hand():
    samples = np.array([[1.0, 3.0], [0.0, 0.0]])  # two points, two images
    # without each image's mean: [[0.5, 1.5], [-0.5, -1.5]]; means +1, -1: measured 1; variance 0.5 over 2: noise 0.25
    assert replicating_share(samples) == pytest.approx(0.75)


def test_the_share_of_a_constant_or_of_one_image_is_unknown():
    assert np.isnan(replicating_share(np.ones((5, 7))))
    assert np.isnan(replicating_share(np.arange(5.0)[:, None]))


@given(st.integers(2, 50), st.integers(0, 10))
def test_halves_are_disjoint_and_equal(images, seed):
    first, second = halves(images, seed)
    assert not (first * second).any()
    assert (first > 0).sum() == (second > 0).sum() == images // 2
    assert first.sum() == pytest.approx(1) and second.sum() == pytest.approx(1)


def test_bands_hold_all_power_but_the_constants():
    samples = _samples(np.zeros((6, 9)), 1.0, 12, 3)
    _, bands = replicating_part(samples, (0.2, 0.3))
    coefficients = dctn(samples.mean(axis=-1), norm="ortho")
    coefficients[0, 0] = 0.0
    frequency = np.hypot(np.arange(6)[:, None] / 0.4, np.arange(9) / 0.6)
    octave = np.floor(np.log2(frequency[frequency > 0] / (1 / 0.6)) + 1e-9).astype(int)
    sizes = np.bincount(octave)[np.unique(octave)]
    assert (bands.measured * sizes).sum() == pytest.approx((coefficients**2).sum())
    assert (np.diff(bands.wavelength) < 0).all()


def test_a_smooth_population_is_found_under_its_noise():
    """The estimate is nearer to the truth than the measured surface, and the shares fall with the wavelength."""
    x, y = np.meshgrid(np.linspace(0, np.pi, 24), np.linspace(0, np.pi, 24), indexing="ij")
    population = 0.3 * np.cos(x) * np.cos(y)
    samples = _samples(population, 3.0, 200, 0)
    estimate, bands = replicating_part(samples, (1.0, 1.0))
    measured = samples.mean(axis=-1) - samples.mean()
    assert np.mean((estimate - population) ** 2) < 0.25 * np.mean((measured - population) ** 2)
    assert bands.share[0] > 0.9 and bands.share[-1] < 0.3
    assert abs(estimate.mean()) < 1e-12


def test_without_noise_everything_replicates():
    population = np.random.default_rng(0).normal(size=12)
    estimate, bands = replicating_part(_samples(population, 0.0, 8, 1), (1.0,))
    np.testing.assert_allclose(estimate, population - population.mean(), atol=1e-12)
    np.testing.assert_allclose(bands.share, 1.0)


def test_of_pure_noise_little_is_kept():
    kept = []
    for seed in range(30):
        samples = _samples(np.zeros((15, 15)), 1.0, 60, seed)
        estimate, _ = replicating_part(samples, (1.0, 1.0))
        kept.append(np.mean(estimate**2) / np.mean((samples.mean(axis=-1) - samples.mean()) ** 2))
    assert np.mean(kept) < 0.05


def test_ranks_agree_whatever_the_scale():
    a = np.array([0.1, 0.4, 0.2, np.nan, 0.9])
    assert rank_agreement(a, np.exp(a)) == pytest.approx(1.0)
    assert rank_agreement(a, -(a**3)) == pytest.approx(-1.0)
    assert np.isnan(rank_agreement(a, np.ones(5)))
    assert np.isnan(rank_agreement(a[:2], a[:2]))
