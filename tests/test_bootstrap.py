from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import norm

from landscape import bootstrap
from landscape.bootstrap import bootstrap_interval, bootstrap_means, multiplier_noise


def test_means_are_those_of_resampled_images():
    """Twelve images of two kinds: a resample's mean tells how many of one kind it drew, a whole number."""
    differences = np.repeat([0.0, 1.0], 6)[None, :]
    drawn = bootstrap_means(differences, draws=4000, seed=3)[0] * 12
    assert np.allclose(drawn, np.round(drawn), atol=1e-12)
    # Binomial(12, 1/2): mean 6, variance 3; five standard errors of 4000 draws.
    assert abs(drawn.mean() - 6) < 5 * np.sqrt(3 / 4000)
    assert abs(drawn.var() - 3) < 5 * np.sqrt(2 * 3**2 / 4000)


def test_interval_agrees_with_a_direct_bootstrap():
    generator = np.random.default_rng(0)
    differences = generator.gamma(0.7, size=(3, 60)) - [[0.5], [0.7], [0.9]]
    direct = np.empty((3, 20000))
    for draw in range(20000):
        direct[:, draw] = differences[:, generator.integers(60, size=60)].mean(axis=1)
    low, high = bootstrap_interval(differences, level=0.9, draws=20000, seed=1)
    # The quantile of 20000 draws is itself uncertain: about 0.015 sd at the 5% point, on both sides.
    tolerance = 5 * np.sqrt(2) * 0.015 * direct.std(axis=1)
    assert (np.abs(low - np.quantile(direct, 0.05, axis=1)) < tolerance).all()
    assert (np.abs(high - np.quantile(direct, 0.95, axis=1)) < tolerance).all()


def test_interval_of_many_images_is_the_normal_one():
    differences = np.random.default_rng(5).normal(0.3, 2.0, size=(1, 1000))
    low, high = bootstrap_interval(differences, level=0.95, draws=10000)
    half = norm.ppf(0.975) * differences.std() / np.sqrt(1000)
    assert low[0] == pytest.approx(differences.mean() - half, abs=0.07 * half)
    assert high[0] == pytest.approx(differences.mean() + half, abs=0.07 * half)


def test_95_percent_intervals_hold_the_truth_in_about_95_percent_of_samples():
    samples = np.random.default_rng(6).normal(0.3, 1.0, size=(1000, 100))
    low, high = bootstrap_interval(samples, level=0.95, draws=1000)
    held = np.mean((low <= 0.3) & (high >= 0.3))
    assert 0.91 < held < 0.97  # 94.5% expected of the percentile bootstrap at N = 100, standard error 0.7%


def test_blocks_of_draws_change_nothing(monkeypatch):
    differences = np.random.default_rng(2).normal(size=(4, 30))
    whole = bootstrap_means(differences, draws=50, seed=9)
    monkeypatch.setattr(bootstrap, "_COUNTS_PER_BLOCK", 7 * 30)
    np.testing.assert_allclose(bootstrap_means(differences, draws=50, seed=9), whole, rtol=0, atol=1e-14)


def test_a_point_with_a_hole_is_nan_and_spares_its_neighbours():
    differences = np.random.default_rng(2).normal(size=(4, 30))
    alone = bootstrap_interval(differences)
    differences[1, 7] = np.nan
    differences[2, 0] = np.inf
    low, high = bootstrap_interval(differences)
    assert np.isnan(low[[1, 2]]).all() and np.isnan(high[[1, 2]]).all()
    np.testing.assert_allclose(low[[0, 3]], alone[0][[0, 3]], rtol=0, atol=1e-14)
    np.testing.assert_allclose(high[[0, 3]], alone[1][[0, 3]], rtol=0, atol=1e-14)


def test_a_grid_of_441_points_and_1000_images_takes_less_than_two_seconds():
    differences = np.random.default_rng(2).normal(size=(441, 1000))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        bootstrap_interval(differences, draws=1000)
        times.append(time.perf_counter() - start)
    assert min(times) < 2


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval(np.zeros((1, 3)), level=level)


@pytest.mark.parametrize(("shape", "draws"), [((3,), 10), ((3, 0), 10), ((3, 4), 0)])
def test_wrong_shapes_and_no_draws_are_refused(shape, draws):
    with pytest.raises(ValueError, match="expected"):
        bootstrap_means(np.zeros(shape), draws, seed=0)


def test_multiplier_noise_has_the_covariance_of_the_mean_also_for_few_units():
    samples = np.random.default_rng(3).normal(size=(3, 5)) * [[1.0], [2.0], [3.0]]
    noise = multiplier_noise(samples, draws=20000, seed=3)
    np.testing.assert_allclose(np.cov(noise), np.cov(samples) / 5, atol=0.05 * np.cov(samples).max() / 5)
    assert (np.abs(noise.mean(axis=1)) < 5 * noise.std(axis=1) / np.sqrt(20000)).all()


def test_multiplier_noise_is_equal_where_samples_are_and_nan_where_they_have_a_hole():
    samples = np.random.default_rng(3).normal(size=(3, 30))
    samples[1] = samples[0]
    samples[2, 4] = np.nan
    noise = multiplier_noise(samples, draws=10, seed=0)
    np.testing.assert_allclose(noise[0], noise[1], rtol=1e-12)
    assert np.isnan(noise[2]).all()
