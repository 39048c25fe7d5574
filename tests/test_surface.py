from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from landscape.errors import UserError
from landscape.surface import Surface
from tests.plots.surfaces import grid, line, with_gaps


def test_a_line_has_one_direction_and_a_grid_two():
    assert (line().dims, line().shape, line().centre_index) == (1, (5,), (2,))
    assert (grid().dims, grid().shape, grid().centre_index) == (2, (5, 7), (2, 3))


@pytest.mark.parametrize("alpha", [[-1.0, 1.0], [0.0, -1.0], [0.0, 0.0, 1.0], [0.0, np.nan], [[0.0, 1.0]], []])
def test_coordinates_must_increase_and_hold_the_centre(alpha):
    with pytest.raises(ValueError, match="increasing"):
        Surface(np.array(alpha), None, {})


def test_a_value_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"'loss' has shape \(7, 5\); the grid has shape \(5, 7\)"):
        grid(values={"loss": np.zeros((7, 5))})


def test_a_surface_is_complete_when_every_point_is_computed():
    computed = np.array([True, True, False, True, True])
    assert line().complete
    assert not with_gaps(line(), computed).complete
    assert (with_gaps(line(), computed).computed == computed).all()
    diverged = line().values["loss"].copy()
    diverged[1] = np.nan
    assert line(values={**line().values, "loss": diverged}).complete


def test_the_table_has_one_row_a_point_in_the_order_of_the_grid():
    surface = grid()
    table = surface.to_dataframe()
    assert list(table.columns) == ["alpha", "beta", "loss", "top1", "infonce", "flip_rate"]
    assert len(table) == 35
    assert surface.beta is not None
    row = table[(table.alpha == surface.alpha[1]) & (table.beta == surface.beta[5])]
    assert row.loss.item() == surface.values["loss"][1, 5]
    assert row.flip_rate.item() == surface.values["flip_rate"][1, 5]


def test_the_table_of_a_line_has_no_beta():
    table = line().to_dataframe()
    assert list(table.columns[:2]) == ["alpha", "beta"]
    assert table.beta.isna().all() and len(table) == 5


def test_the_csv_file_keeps_every_digit_and_every_gap(tmp_path):
    surface = with_gaps(grid(), np.arange(35).reshape(5, 7) % 4 > 0)
    surface.to_csv(tmp_path / "table.csv")
    read = pd.read_csv(tmp_path / "table.csv", dtype=str).map(float)
    pd.testing.assert_frame_equal(read, surface.to_dataframe(), check_exact=True)


def test_a_table_that_cannot_be_written_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write the table"):
        line().to_csv(tmp_path / "absent" / "table.csv")


def test_best_is_lowest_for_losses_and_highest_for_top1():
    surface = grid()
    for value, best, worst in [("loss", np.min, np.max), ("infonce", np.min, np.max), ("top1", np.max, np.min)]:
        z = surface.values[value]
        assert surface.best(value).values[value] == best(z)
        assert surface.worst(value).values[value] == worst(z)
    point = surface.best("loss")
    assert surface.beta is not None
    assert (point.alpha, point.beta) == (surface.alpha[point.index[0]], surface.beta[point.index[1]])
    assert surface.values["loss"][point.index] == surface.values["loss"].min()
    assert line().best().beta is None


def test_of_equal_points_the_nearest_to_the_centre_is_best():
    flat = grid(values={"loss": np.ones((5, 7)), "top1": np.zeros((5, 7))})
    assert flat.best("loss").index == flat.worst("top1").index == (2, 3)


def test_best_overlooks_points_that_are_not_computed():
    surface = line(values={"loss": np.array([np.nan, 3.0, np.nan, 2.0, np.nan])})
    assert surface.best().alpha == surface.alpha[3]
    assert surface.worst().alpha == surface.alpha[1]
    assert surface.spread() == {"min": 2.0, "max": 3.0, "sd": 0.5, "range": 1.0}


def test_what_a_surface_does_not_have_is_told_in_one_line():
    empty = line(values={"loss": np.full(5, np.nan)})
    for call, told in [
        (lambda: line().best("accuracy"), "no value 'accuracy'; it has loss, top1, infonce, flip_rate"),
        (lambda: line().best("flip_rate"), "no better or worse"),
        (lambda: empty.best("loss"), "no point"),
        (lambda: empty.spread("loss"), "no point"),
        (lambda: line().interval("flip_rate"), "keeps no per-image 'flip_rate'; it keeps loss, top1, infonce"),
        (lambda: line().plot("accuracy"), "no value 'accuracy'"),
        (lambda: line().plotly("accuracy"), "no value 'accuracy'"),
    ]:
        with pytest.raises(UserError, match=told):
            call()


def test_the_interval_is_zero_wide_at_the_centre_and_around_the_difference_elsewhere():
    surface = grid()
    low, high = surface.interval("loss")
    assert low.shape == high.shape == (5, 7)
    assert low[2, 3] == high[2, 3] == 0
    difference = surface.values["loss"] - surface.values["loss"][2, 3]
    others = np.arange(35).reshape(5, 7) != 2 * 7 + 3
    assert ((low < difference) & (difference < high))[others].all()


def test_the_interval_of_top1_is_in_percentage_points():
    surface = grid(images=400)
    low, high = surface.interval("top1")
    difference = surface.values["top1"] - surface.values["top1"][2, 3]
    # Unpaired 0/1 draws with p = 0.8: sd of the difference is sqrt(2 * 0.16 / 400) = 2.8 points.
    assert np.median(high - low) == pytest.approx(2 * 1.96 * 2.83, rel=0.15)
    assert ((low <= difference) & (difference <= high)).all()


def test_what_an_image_adds_at_every_point_leaves_the_interval_as_it_is():
    """The bootstrap is paired: the difficulty of the images, however large, cancels."""
    surface = line()
    hardness = np.random.default_rng(1).normal(0, 100, size=40)
    harder = line(per_image={"loss": surface.per_image["loss"] + hardness})
    for one, other in zip(surface.interval("loss"), harder.interval("loss"), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)
    np.testing.assert_allclose(surface.standard_error(), harder.standard_error(), rtol=0, atol=1e-11)


def test_the_interval_is_the_same_each_time_and_another_for_another_seed():
    surface = line()
    assert (surface.interval("loss")[0] == surface.interval("loss")[0]).all()
    assert (surface.interval("loss")[0] != surface.interval("loss", seed=1)[0])[[0, 1, 3, 4]].all()


def test_a_wider_level_gives_a_wider_interval():
    narrow, wide = (np.subtract(*line().interval("loss", level)[::-1]) for level in (0.5, 0.99))
    assert (wide >= narrow).all() and wide[0] > narrow[0]


def test_points_not_computed_have_no_interval_and_without_the_centre_there_is_none():
    computed = np.array([True, False, True, True, True])
    low, _ = with_gaps(line(), computed).interval("loss")
    assert (np.isnan(low) == ~computed).all()
    assert (np.isnan(with_gaps(line(), computed).standard_error("loss")) == ~computed).all()
    low, high = with_gaps(line(), np.arange(5) != 2).interval("loss")
    assert np.isnan(low).all() and np.isnan(high).all()


def test_the_standard_error_is_that_of_a_paired_difference():
    samples = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    surface = Surface(np.array([-1.0, 0.0, 1.0]), None, {"loss": samples.mean(axis=1)}, {"loss": samples})
    # Differences 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, variance 7, over 3 images.
    np.testing.assert_allclose(surface.standard_error("loss"), [np.sqrt(7 / 3), 0, 0], rtol=1e-15)


def test_one_image_has_no_standard_error():
    surface = Surface(np.array([0.0, 1.0]), None, {}, {"loss": np.ones((2, 1))})
    assert np.isnan(surface.standard_error("loss")).all()


def test_per_image_values_are_read_only_when_asked_for():
    class Untouchable(dict[str, np.ndarray]):
        def __getitem__(self, name):
            raise AssertionError(f"{name} was read")

    surface = line(per_image=Untouchable(loss=np.zeros(1)))
    surface.to_dataframe(), surface.best(), surface.spread(), repr(surface)
    with pytest.raises(AssertionError, match="loss was read"):
        surface.interval("loss")


def test_per_image_values_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"has shape \(4, 40\); expected \(5,\)"):
        line(per_image={"loss": np.zeros((4, 40))}).interval("loss")


def test_the_notebook_table_shows_values_and_escapes_names():
    surface = line(settings={"model": "<script>alert(1)</script>", "seed": 3})
    page = surface._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    for number in (0.9, surface.values["loss"][2], surface.values["loss"].min(), surface.values["loss"].max()):
        assert f"<td>{number:.4f}</td>" in page
    assert "test cross-entropy (nats)" in page and "81.10" in page and "seed: 3" in page


def test_a_surface_describes_itself_in_a_line():
    assert repr(with_gaps(grid(), np.eye(5, 7, dtype=bool))).startswith("Surface(5 x 7 points, 5 computed, alpha -0.05")
