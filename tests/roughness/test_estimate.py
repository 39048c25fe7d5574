from __future__ import annotations

import numpy as np
import pytest

from landscape.roughness import FORMS, squared_estimate
from landscape.roughness.estimate import cross_product
from tests.roughness.surfaces import AXIS, bowl, jagged

BY_NAME = {form.name: form for form in FORMS}
DRAWS = 500


def estimates(name, population, images, seed, kind="normal", draws=DRAWS):
    """Estimates of a form from many independent samples of images."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        noise = generator.normal(size=(len(population), images))
        if kind == "sparse":  # most images hardly move, a few much, as with cross-entropy
            noise *= np.exp(1.5 * generator.normal(size=images))
        if kind == "walk":  # neighbouring points share most of their noise
            noise = 0.3 * np.cumsum(noise, axis=0)
        found.append(squared_estimate(BY_NAME[name].rows(population[:, None] + noise, (AXIS,))))
    return found


def test_the_estimate_is_the_mean_product_of_different_images():
    rows = np.random.default_rng(0).normal(size=(5, 7))
    products = [rows[:, i] @ rows[:, j] for i in range(7) for j in range(7) if i != j]
    found = squared_estimate(rows)
    assert found.estimate == pytest.approx(np.mean(products))
    assert found.measured == pytest.approx(np.sum(rows.mean(axis=1) ** 2))
    other = np.random.default_rng(1).normal(size=(5, 7))
    products = [rows[:, i] @ other[:, j] for i in range(7) for j in range(7) if i != j]
    assert cross_product(rows, other) == pytest.approx(np.mean(products))


def test_the_sample_part_is_the_estimated_variance_of_the_mean():
    rows = np.random.default_rng(0).normal(size=(5, 7))
    found = squared_estimate(rows)
    assert found.sample_part == pytest.approx(np.trace(np.cov(rows)) / 7)
    assert found.measured == pytest.approx(found.estimate + found.sample_part)


@pytest.mark.parametrize("skewed", [False, True])
def test_the_trace_of_the_squared_covariance_is_unbiased_for_any_distribution(skewed):
    generator = np.random.default_rng(2)
    mixing = generator.normal(size=(4, 4))
    found = []
    for _ in range(4000):
        independent = generator.exponential(size=(4, 8)) if skewed else generator.normal(size=(4, 8))
        found.append(squared_estimate(mixing @ independent).trace_of_square)
    truth = np.trace(np.linalg.matrix_power(mixing @ mixing.T, 2))
    # Kept to its possible range, which moves the mean a little.
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("size", [0.0, 0.3])
def test_the_estimate_is_unbiased(name, size):
    population = jagged(size)
    found = np.array([each.estimate for each in estimates(name, population, images=20, seed=3)])
    truth = BY_NAME[name].measure(population, (AXIS,))
    assert abs(found.mean() - truth) < 4 * found.std() / np.sqrt(DRAWS)


@pytest.mark.parametrize("kind", ["normal", "sparse", "walk"])
@pytest.mark.parametrize("images", [20, 200])
@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_the_interval_of_jaggedness_covers_the_truth_95_times_of_100(kind, images, size):
    population = jagged(size)
    truth = BY_NAME["jaggedness"].measure(population, (AXIS,))
    intervals = np.array([each.interval(0.95) for each in estimates("jaggedness", population, images, 4, kind)])
    covered = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
    # Standard error of 500 draws: 1 %. With noise alone zero is covered from one side only: 97.5 %.
    assert 0.915 <= covered <= 1.0


def test_intervals_over_all_cases_together_are_neither_too_narrow_nor_too_wide():
    covered = []
    for size in (0.1, 0.3, 1.0):
        population = jagged(size)
        truth = BY_NAME["jaggedness"].measure(population, (AXIS,))
        found = [each.interval(0.95) for each in estimates("jaggedness", population, 60, 5)]
        covered += [low <= truth <= high for low, high in found]
    assert 0.93 < np.mean(covered) < 0.97


def test_a_bowl_with_noise_is_above_its_floor_five_times_of_100():
    for kind in ("normal", "sparse", "walk"):
        found = estimates("jaggedness", bowl(), 100, 6, kind)
        assert np.mean([each.measured > each.floor(0.95) for each in found]) < 0.08  # 5 %, standard error 1 %


def test_real_structure_is_found_as_images_grow():
    shares = []
    for images in (25, 100, 400):
        found = estimates("jaggedness", jagged(0.08), images, seed=7, draws=100)
        shares.append(np.mean([each.measured > each.floor(0.95) for each in found]))
    assert shares[0] < 0.35 and shares[0] < shares[1] < shares[2] and shares[2] > 0.95


def test_the_number_of_images_needed_finds_the_roughness_four_times_of_five():
    population = jagged(0.1)
    (exact,) = estimates("jaggedness", population, 100_000, seed=8, draws=1)
    assert exact.estimate == pytest.approx(BY_NAME["jaggedness"].measure(population, (AXIS,)), rel=0.05)
    needed = int(exact.units_needed(0.95))
    found = estimates("jaggedness", population, needed, seed=9, draws=400)
    assert np.mean([each.measured > each.floor(0.95) for each in found]) == pytest.approx(0.8, abs=0.08)
    # And what `needed` images can detect is about that roughness.
    assert np.mean([each.detectable(0.95) for each in found]) == pytest.approx(exact.estimate, rel=0.25)


def test_without_noise_everything_measured_is_the_populations():
    rows = np.tile(np.arange(3.0)[:, None], (1, 6))
    found = squared_estimate(rows)
    assert (found.estimate, found.sample_part, found.floor(0.95)) == (5, 0, 0)
    assert found.interval(0.95) == pytest.approx((5, 5))
    assert found.units_needed(0.95) == 2


def test_a_flat_surface_without_noise_has_nothing():
    found = squared_estimate(np.zeros((3, 6)))
    assert (found.estimate, found.floor(0.95), found.interval(0.95)) == (0, 0, (0, 0))
    assert found.units_needed(0.95) == np.inf


@pytest.mark.parametrize("shape", [(3, 3), (0, 9), (9,)])
def test_too_few_units_or_no_rows_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        squared_estimate(np.zeros(shape))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_form_is_the_sum_of_squares_of_linear_rows_and_skips_missing_points(name):
    generator = np.random.default_rng(1)
    form = BY_NAME[name]
    axes = (np.arange(6.0), np.arange(5.0))
    one, other = generator.normal(size=(2, 6, 5))
    one[2, 3] = other[2, 3] = np.nan
    np.testing.assert_allclose(
        form.rows(2 * one - 3 * other, axes), 2 * form.rows(one, axes) - 3 * form.rows(other, axes), atol=1e-12
    )
    assert np.isfinite(form.measure(one, axes))


def test_forms_of_a_line_by_hand():
    values = np.array([0.0, 1.0, 1.0, 0.0, 4.0])
    axes = (np.arange(5.0),)
    assert BY_NAME["variance"].measure(values, axes) == pytest.approx(values.var())
    assert BY_NAME["squared_variation"].measure(values, axes) == pytest.approx(1 + 0 + 1 + 16)
    assert BY_NAME["second_difference"].measure(values, axes) == pytest.approx((1 + 1 + 25) / 3)
    rest = values - np.polyval(np.polyfit(axes[0], values, 2), axes[0])
    assert BY_NAME["quadratic_residual"].measure(values, axes) == pytest.approx(np.mean(rest**2))
    assert BY_NAME["jaggedness"].measure(values, axes) == pytest.approx(np.mean(np.diff(rest, 2) ** 2))
