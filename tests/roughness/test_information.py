from __future__ import annotations

import numpy as np
import pytest

from landscape.roughness import information_content

X = np.linspace(0, 1, 101)
CURVES = {
    "bowl": (X - 0.4) ** 2,
    "sines": np.sin(9 * X) + 0.3 * np.sin(40 * X),
    "stairs": np.floor(8 * X) / 8,
}
# pflacco 1.2.2: calculate_information_content(pd.DataFrame({"x": X}), pd.Series(curve), ic_sorting="nn", ic_nn_start=0)
PFLACCO = {
    "bowl": (0.0518098023967008, -np.inf, 0.010101010101010102),
    "sines": (0.4097737498004169, 1.3063063063063056, 0.13131313131313133),
    "stairs": (0.2180007977617121, 1.1061061061061057, 0.0),
}
PFLACCO_SENSITIVITIES = np.insert(10 ** np.linspace(-5, 15, 1000), 0, 0)


@pytest.mark.parametrize("curve", CURVES)
def test_the_features_are_those_of_pflacco(curve):
    found = information_content(CURVES[curve], (X,), PFLACCO_SENSITIVITIES)
    np.testing.assert_allclose([found.h_max, found.eps_s, found.m0], PFLACCO[curve], rtol=1e-12)


@pytest.mark.parametrize("curve", CURVES)
def test_exact_sensitivities_agree_with_a_fine_table_to_its_step(curve):
    exact, table = (information_content(CURVES[curve], (X,), at) for at in (None, PFLACCO_SENSITIVITIES))
    assert exact.h_max >= table.h_max - 1e-12 and exact.h_max == pytest.approx(table.h_max, abs=0.02)
    assert exact.eps_s == table.eps_s or table.eps_s - 20 / 999 <= exact.eps_s <= table.eps_s


def test_a_zigzag_by_hand():
    """Ups and downs in turn: pairs (1, -1) and (-1, 1) half each, so H = -2 * 1/2 log6 1/2; every step turns."""
    values = np.array([0.0, 1.0] * 10 + [0.0])
    found = information_content(values, (np.arange(21.0),))
    # Of 19 pairs of 20 steps, 10 and 9.
    assert found.h_max == pytest.approx(-sum(p * np.log(p) / np.log(6) for p in (10 / 19, 9 / 19)))
    assert found.m0 == 1
    assert found.eps_s == 0.0  # all slopes are 1: settled just above


def test_a_straight_line_is_settled_at_once():
    found = information_content(np.arange(5.0), (np.arange(5.0),))
    assert (found.h_max, found.eps_s, found.m0) == (0, -np.inf, 0)


def test_a_plane_of_equal_lines_has_the_features_of_all_its_lines():
    """Across: the sines, on every line; down: flat lines, without turns, in as many steps."""
    line = information_content(CURVES["sines"], (X,))
    plane = information_content(np.tile(CURVES["sines"], (101, 1)), (X, X))
    assert plane.m0 == pytest.approx(line.m0 / 2)


def test_a_missing_point_ends_the_walk():
    values = np.array([0.0, 1.0, 0.0, np.nan, 0.0, 1.0, 0.0])
    found = information_content(values, (np.arange(7.0),))
    # Two walks of two steps: one pair each, both (1, -1); two turns of two possible.
    assert (found.h_max, found.m0) == (0, 1)


def test_nothing_is_said_of_no_steps():
    found = information_content(np.array([1.0, np.nan, 1.0]), (np.arange(3.0),))
    assert np.isnan([found.h_max, found.eps_s, found.m0]).all()
