from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import UserError
from landscape.roughness import (
    correlation_length,
    largest_jump,
    plateau_share,
    quadratic_r2,
    quadratic_residual,
    relative_second_difference,
    second_difference,
    spread,
    total_variation,
)
from landscape.roughness.differences import second_differences
from tests.roughness.surfaces import AXIS, bowl

X = (np.arange(5.0),)
ALL = (
    spread,
    total_variation,
    second_difference,
    relative_second_difference,
    correlation_length,
    largest_jump,
    quadratic_residual,
    quadratic_r2,
    plateau_share,
)


def test_a_small_line_by_hand():
    values = np.array([0.0, 1.0, 1.0, 0.0, 4.0])
    assert spread(values, X) == pytest.approx(np.sqrt(18 / 5 - 1.2**2))
    assert total_variation(values, X) == (1 + 0 + 1 + 4) / 4
    # Second differences -1, -1, 5.
    assert second_difference(values, X) == pytest.approx(np.sqrt(27 / 3))
    assert relative_second_difference(values, X) == pytest.approx(3 / 4)
    assert largest_jump(values, X) == 4
    assert plateau_share(values, X) == 1 / 4


def test_a_small_plane_takes_its_lines_in_both_directions():
    values = np.array([[0.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
    axes = (np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    # Down: 2, 2, 1 over steps of 1; across: 0, 1, 0, 0 over steps of 0.5.
    assert total_variation(values, axes) == (5 + 1) / (3 + 2)
    assert largest_jump(values, axes) == 2
    # Only the lines of three points have second differences: 1 and 0.
    assert second_difference(values, axes) == pytest.approx(np.sqrt(1 / 2))
    assert plateau_share(values, axes) == pytest.approx((3 * 0.5) / 5)


def test_a_bowl_is_its_own_best_quadratic():
    assert quadratic_residual(bowl(), (AXIS,)) == pytest.approx(0, abs=1e-14)
    assert quadratic_r2(bowl(), (AXIS,)) == pytest.approx(1)
    # f'' h^2 with f'' = 20 and steps of 0.0025
    assert second_difference(bowl(), (AXIS,)) == pytest.approx(20 * 0.0025**2)


def test_a_tilted_saddle_is_a_quadratic_in_the_plane():
    x, y = np.meshgrid(AXIS, AXIS[::2], indexing="ij")
    values = 1 + 2 * x - y + 3 * x * x - 4 * y * y + 5 * x * y
    assert quadratic_residual(values, (AXIS, AXIS[::2])) == pytest.approx(0, abs=1e-14)


def test_the_second_difference_of_independent_noise_is_root_six_of_it():
    noise = np.random.default_rng(0).normal(size=(20000,))
    assert second_difference(noise, (np.arange(20000.0),)) == pytest.approx(np.sqrt(6), rel=0.02)


@given(st.lists(st.floats(0.01, 3), min_size=2, max_size=8), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_divided_differences_of_a_parabola_are_its_second_derivative_on_any_grid(steps, a, b, c):
    axis = np.concatenate([[0.0], np.cumsum(steps)])
    rows, _ = second_differences(a + b * axis + c * axis**2, (axis,))
    products = np.array(steps)[:-1] * np.array(steps)[1:]
    np.testing.assert_allclose(rows / products, 2 * c, atol=1e-6)


def test_a_line_refined_in_one_place_keeps_the_measures_of_a_straight_line():
    axis = np.array([0.0, 1.0, 1.25, 1.5, 2.0, 4.0])
    assert total_variation(3 * axis, (axis,)) == pytest.approx(3)
    assert second_difference(3 * axis, (axis,)) == pytest.approx(0, abs=1e-14)


def test_the_correlation_length_of_an_unequal_grid_is_refused():
    axis = np.array([0.0, 1.0, 1.5, 2.0])
    with pytest.raises(UserError, match="equally spaced"):
        correlation_length(axis**2, (axis,))


def test_the_correlation_length_of_noise_is_a_part_of_a_step_and_of_a_moving_average_its_width():
    noise = np.random.default_rng(1).normal(size=20000)
    axis = np.linspace(0, 1999.9, 20000)
    assert correlation_length(noise, (axis,)) == pytest.approx(0.1 * (1 - 1 / np.e), rel=0.03)
    # A moving average of 10 has the autocorrelation 1 - lag / 10.
    smooth = np.convolve(noise, np.ones(10) / 10, mode="same").astype(np.float64)
    assert correlation_length(smooth, (axis,)) == pytest.approx(0.1 * 10 * (1 - 1 / np.e), rel=0.05)


def test_a_staircase_has_plateaus_jumps_and_no_slope_between():
    stairs = np.floor(np.arange(41) / 10)
    assert plateau_share(stairs, (AXIS,)) == pytest.approx(36 / 40)
    assert largest_jump(stairs, (AXIS,)) == 1
    assert total_variation(stairs, (AXIS,)) == pytest.approx(4 / 0.1)
    assert quadratic_r2(stairs, (AXIS,)) < 1


def test_a_flat_surface_has_no_ratio_and_no_correlation_length():
    flat = np.full(5, 0.1)
    for measure in (relative_second_difference, correlation_length, quadratic_r2):
        assert np.isnan(measure(flat, X))
    for measure in (spread, total_variation, second_difference, largest_jump):
        assert measure(flat, X) == pytest.approx(0, abs=1e-15)
    assert plateau_share(flat, X) == 1


def test_missing_points_are_left_out_and_not_bridged():
    values = np.array([0.0, 1.0, np.nan, 5.0, 7.0])
    assert total_variation(values, X) == (1 + 2) / 2
    assert largest_jump(values, X) == 2
    assert spread(values, X) == pytest.approx(np.std([0, 1, 5, 7]))
    assert np.isnan(second_difference(values, X))
    assert quadratic_residual(values, X) == pytest.approx(
        np.sqrt(np.mean((np.polyval(np.polyfit([0, 1, 3, 4], [0, 1, 5, 7], 2), [0, 1, 3, 4]) - [0, 1, 5, 7]) ** 2))
    )


@pytest.mark.parametrize("measure", ALL)
def test_what_cannot_be_said_of_no_points_is_nan(measure):
    assert np.isnan(measure(np.full(5, np.nan), X))


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("shape", [(5,), (5, 4)])
def test_many_surfaces_at_once_are_measured_as_one_by_one(measure, shape):
    generator = np.random.default_rng(3)
    axes = tuple(np.arange(float(n)) for n in shape)
    values = generator.normal(size=(*shape, 6))
    values[(1,) * len(shape)] = np.nan
    together = measure(values, axes)
    assert together.shape == (6,)
    np.testing.assert_allclose(together, [measure(values[..., k], axes) for k in range(6)], rtol=1e-12)


@pytest.mark.parametrize("measure", ALL)
def test_values_of_another_shape_are_refused(measure):
    with pytest.raises(ValueError, match="the grid has shape"):
        measure(np.zeros(4), X)
