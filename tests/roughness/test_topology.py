from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from landscape.roughness import count_minima, merge_tree, persistence_diagram, smad
from landscape.roughness.topology import gudhi_diagram
from tests.roughness.surfaces import egg_carton

INF = float("inf")


def test_a_line_by_hand():
    """Minima 1, 0 and 2 between maxima 3 and 5: 2 dies at 5, 1 at 3."""
    values = np.array([4.0, 1.0, 3.0, 0.0, 5.0, 2.0, 6.0])
    assert persistence_diagram(values) == ((0.0, INF), (2.0, 5.0), (1.0, 3.0))
    # Arcs to the first saddle: 1 and 0 to 3, 2 to 5 (0 has met 1 before).
    assert sorted(merge_tree(values).arcs) == [2.0, 3.0, 3.0]
    assert smad(values) == pytest.approx(8 / 3)
    assert [count_minima(values, depth) for depth in (0.0, 2.0, 2.5, 3.0)] == [3, 2, 2, 1]


def test_a_plane_by_hand():
    """Two basins, 0 and 1, whose lowest pass is 2, around a wall of 9."""
    values = np.array([[0.0, 9.0, 1.0], [3.0, 9.0, 4.0], [8.0, 2.0, 5.0]])
    # From 0 down to 8, across to 2, 5, 4, 1: 2 is a minimum of its own that meets 1 at 5 and 0 at 8.
    assert persistence_diagram(values) == ((0.0, INF), (1.0, 8.0), (2.0, 5.0))


def test_an_egg_carton_has_its_minima_at_their_depth():
    values = egg_carton(n=33, wells=4, depth=0.8)
    pairs = persistence_diagram(values)
    assert len(pairs) == 16 and pairs[0][1] == INF
    np.testing.assert_allclose([death - birth for birth, death in pairs[1:]], 0.4, atol=1e-12)
    assert count_minima(values, 0.3) == 16 and count_minima(values, 0.5) == 1
    assert smad(values) == pytest.approx(0.4)


def test_a_bowl_and_a_staircase_have_one_minimum():
    x = np.linspace(-1, 1, 21)
    for values in (x**2, np.floor(5 * np.abs(x)), np.zeros(21), x[:, None] ** 2 + x**2):
        assert persistence_diagram(values) == ((values.min(), INF),)
        assert smad(values) == 0


def test_a_plateau_counts_once_whatever_its_shape():
    values = np.array([[5.0, 1.0, 5.0], [1.0, 1.0, 5.0], [5.0, 5.0, 0.0]])
    assert persistence_diagram(values) == ((0.0, INF), (1.0, 5.0))


def test_missing_points_part_the_surface():
    values = np.array([1.0, 2.0, np.nan, 0.0, 3.0])
    assert persistence_diagram(values) == ((0.0, INF), (1.0, INF))
    assert persistence_diagram(np.full(3, np.nan)) == ()


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=2, max_side=7), elements=st.integers(0, 6).map(float)))
def test_the_diagram_is_that_of_gudhi(values):
    pytest.importorskip("gudhi", reason="gudhi is in the extra topology")
    assert persistence_diagram(values) == gudhi_diagram(values)


def test_the_diagram_of_noise_with_holes_is_that_of_gudhi():
    pytest.importorskip("gudhi", reason="gudhi is in the extra topology")
    values = np.random.default_rng(0).normal(size=(31, 27))
    values[np.random.default_rng(1).random(values.shape) < 0.1] = np.nan
    assert persistence_diagram(values) == gudhi_diagram(values)


@given(arrays(np.float64, 12, elements=st.floats(-5, 5)), st.floats(-3, 3))
def test_a_shift_leaves_persistence_as_it_is(values, shift):
    one, other = (merge_tree(surface) for surface in (values, np.flip(values)))
    np.testing.assert_allclose(sorted(one.arcs), sorted(other.arcs))
    depths = [sorted(death - birth for birth, death in tree.pairs) for tree in (one, other)]
    np.testing.assert_allclose(depths[0], depths[1])
