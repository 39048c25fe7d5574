from __future__ import annotations

import json

import numpy as np
import pytest

from landscape.errors import UserError
from landscape.roughness import jaggedness_of_values, noise_floor, replication, roughness, verdict_lines
from landscape.surface import Surface
from tests.roughness.surfaces import AXIS, bowl, egg_carton, jagged, line, of_samples


def test_a_bowl_with_noise_is_not_called_rough_by_any_measure_more_often_than_by_chance():
    found = [roughness(line(bowl(), images=100, seed=seed), draws=60, seed=seed) for seed in range(50)]
    assert sum(bool(each.rough) for each in found) <= 7  # of 50 at 5 %: 2.5 expected, more than 7 once in 200
    for name in [measure.name for measure in found[0]]:
        assert sum(bool(each[name].rough) for each in found) <= 9, name


def test_a_jagged_surface_is_rough_by_all_measures_of_jaggedness():
    found = roughness(line(jagged(0.3), images=200, seed=1), draws=200)
    assert found.rough
    for name in ("total_variation", "second_difference", "largest_jump", "smad", "quadratic_residual"):
        assert found[name].rough, name
    assert found.noise is not None and found.noise["jaggedness"].share > 0.9


def test_the_value_lies_in_its_interval_where_a_plain_bootstrap_would_put_it_below():
    """Resampling adds noise to noise; the interval is of other samples of the same size."""
    inside = {name: 0 for name in ("second_difference", "total_variation", "quadratic_residual", "spread", "smad")}
    for seed in range(40):
        found = roughness(line(bowl(), images=100, seed=seed), draws=60, seed=seed)
        for name in inside:
            inside[name] += found[name].low <= found[name].value <= found[name].high
    assert min(inside.values()) >= 36


def test_the_interval_is_as_wide_as_other_samples_of_the_same_size_scatter():
    samples = [roughness(line(jagged(0.03), images=400, seed=seed), draws=100) for seed in range(40)]
    for name in ("second_difference", "total_variation", "spread", "quadratic_residual"):
        scatter = np.std([each[name].value for each in samples])
        widths = np.mean([each[name].high - each[name].low for each in samples])
        assert widths / (2 * 1.96) == pytest.approx(scatter, rel=0.35), name


def test_a_staircase_keeps_its_plateaus_in_the_resamples():
    stairs = np.floor(np.arange(41) / 10)
    generator = np.random.default_rng(0)
    samples = stairs[:, None] * generator.gamma(1.0, size=50)
    found = roughness(of_samples(samples), draws=100)
    plateau = found["plateau_share"]
    assert (plateau.value, plateau.low, plateau.high) == pytest.approx((0.9, 0.9, 0.9))
    assert plateau.rough is None and np.isnan(plateau.floor)


@pytest.mark.parametrize(
    "samples",
    [
        np.random.default_rng(0).normal(size=(3, 50)),  # three points: a quadratic goes through them
        np.tile(np.random.default_rng(0).gamma(1.0, size=50), (21, 1)),  # no code flips
        0.1 + np.outer(np.linspace(-1, 1, 21) ** 2, np.random.default_rng(0).gamma(1.0, size=50)),
    ],
)
def test_rounding_of_the_best_quadratic_is_not_called_rough(samples):
    found = roughness(of_samples(samples), draws=20)
    assert not found.rough
    assert not any(found[name].rough for name in ("quadratic_residual", "information_eps_s"))


def test_the_verdict_names_each_value_and_why_one_has_none():
    generator = np.random.default_rng(0)
    rough, flat = jagged(0.3)[:, None] + 0.1 * generator.normal(size=(2, len(AXIS), 60)) * [[[1.0]], [[3.0]]]
    per_image = {"loss": rough, "top1": (flat > 0.5).astype(float), "infonce": rough}
    means = {name: value.mean(axis=1) for name, value in per_image.items()}
    surface = Surface(AXIS, None, means, per_image, {"batch": 100})
    found = jaggedness_of_values(surface)
    assert list(found) == ["loss", "top1", "infonce"]
    assert not isinstance(found["loss"], str) and found["loss"].above_floor
    assert isinstance(found["infonce"], str)
    lines = verdict_lines(found)
    assert lines[1].split()[:2] == ["loss", "yes"] and lines[3].split()[:3] == ["infonce", "not", "known"]
    assert "needs at least" in lines[-1]


def test_an_egg_carton_in_noise_shows_its_minima():
    population = egg_carton(n=17, wells=2, depth=1.0)
    generator = np.random.default_rng(0)
    found = roughness(of_samples(population[..., None] + 0.2 * generator.normal(size=(17, 17, 400))), draws=50)
    assert found["minima"].value == found["minima"].low == found["minima"].high == 4
    assert found.rough
    deep = [death - birth for birth, death in found.diagram if death - birth > 0.25]
    assert len(deep) == 4 and deep[1:] == pytest.approx([0.5] * 3, abs=0.06)


def test_top1_is_measured_in_points_and_its_minima_are_those_of_the_error():
    generator = np.random.default_rng(0)
    correct = (generator.random((41, 500)) < 0.8).astype(float)
    surface = Surface(AXIS, None, {"top1": 100 * correct.mean(axis=1)}, {"top1": correct})
    found = roughness(surface, "top1", draws=50)
    assert found["spread"].unit == "points"
    assert found["spread"].value == pytest.approx(100 * correct.mean(axis=1).std())
    assert found.diagram[0][0] == pytest.approx(100 - 100 * correct.mean(axis=1).max())


def test_infonce_is_resampled_by_whole_batches():
    """The images of a batch share their noise: taken one by one they would seem to say more than they do."""
    generator = np.random.default_rng(0)
    of_batch = np.repeat(generator.normal(size=(41, 20)), 100, axis=1)
    surface = Surface(AXIS, None, {}, {"infonce": of_batch, "kl": of_batch}, {"infonce_batch": 100})
    batches, images = (noise_floor(surface, name)["jaggedness"] for name in ("infonce", "kl"))
    assert batches.unit_images == 100 and images.unit_images == 1
    assert batches.sample_part == pytest.approx(batches.measured, rel=0.5)
    assert images.sample_part < 0.02 * images.measured
    assert not batches.above_floor and images.above_floor
    assert noise_floor(surface, "infonce@0.5".partition("@")[0], images=950)["variance"].images == 900


def test_images_of_infonce_that_fill_no_four_batches_are_told_in_one_line():
    surface = Surface(AXIS, None, {}, {"infonce": np.zeros((41, 300))})
    with pytest.raises(UserError, match="at least 4 batches of 100 images, and there are 3"):
        noise_floor(surface, "infonce")
    found = roughness(Surface(AXIS, None, {"infonce": np.zeros(41)}, surface.per_image), "infonce", draws=5)
    assert found.noise is None and "fewer than 4" in found["spread"].note and found.rough is None


def test_the_curve_falls_to_the_population_as_one_over_n():
    found = noise_floor(line(jagged(0.05), images=1600, seed=2))["jaggedness"]
    assert found.curve.images == (25, 50, 100, 200, 400, 800, 1600)
    assert found.curve.measured[-1] == pytest.approx(found.measured)
    excess = np.array(found.curve.expected) - found.curve.population
    np.testing.assert_allclose(excess * found.curve.images, excess[0] * 25)
    np.testing.assert_allclose(found.curve.measured, found.curve.expected, rtol=0.25)
    assert found.low < np.mean(np.diff(jagged(0.05) - bowl(), 2) ** 2) < found.high


def test_halves_of_a_real_surface_agree_and_halves_of_noise_do_not():
    real, noise = (replication(line(p, images=400, seed=3), splits=50) for p in (jagged(0.3), bowl()))
    assert real.values.mean > 0.95 and real.second_differences.mean > 0.95
    assert abs(noise.second_differences.mean) < 0.25
    assert noise.roughness_of_mean.mean == pytest.approx(noise.roughness_of_half_difference.mean, rel=0.2)
    assert real.roughness_of_mean.mean > 5 * real.roughness_of_half_difference.mean


def test_the_hardness_of_images_leaves_all_as_it_is():
    """All is paired: what an image adds at every point cancels."""
    surfaces = [line(jagged(0.1), images=60, seed=4, hardness=hardness) for hardness in (0.0, 50.0)]
    easy, hard = (roughness(surface, draws=50).to_dict() for surface in surfaces)
    for one, other in zip(easy["measures"], hard["measures"], strict=True):
        for key in ("value", "low", "high", "floor"):
            assert one[key] is None or one[key] == pytest.approx(other[key], rel=1e-6, abs=1e-9), (one["name"], key)


def test_missing_points_are_left_out_of_everything():
    surface = line(jagged(0.3), images=100, seed=5)
    gap = surface.per_image["loss"].copy()
    gap[7] = np.nan
    found = roughness(of_samples(gap), draws=50)
    assert found.points == 40
    there = np.delete(surface.values["loss"], 7)
    assert found["spread"].value == pytest.approx(there.std())
    steps = [*np.diff(surface.values["loss"][:7]), *np.diff(surface.values["loss"][8:])]
    assert found["largest_jump"].value == pytest.approx(np.abs(steps).max())
    assert all(np.isfinite([m.low, m.high]).all() for m in found)
    assert found.replication is not None and np.isfinite(found.replication.second_differences.mean)


@pytest.mark.parametrize("computed", [[0, 2, 4], [0, 1, 2], [0, 1, 3, 4]])
def test_an_unfinished_line_is_measured_as_far_as_it_goes(computed):
    samples = np.full((5, 30), np.nan)
    samples[computed] = np.random.default_rng(0).normal(size=(len(computed), 30))
    found = roughness(of_samples(samples), draws=20)
    assert np.isfinite([found["spread"].value, found["spread"].floor]).all()
    assert found.rough is None or np.isfinite(found["second_difference"].value)


def test_an_unfinished_plane_with_too_few_points_for_a_quadratic_is_measured():
    samples = np.full((3, 3, 30), np.nan)
    samples[[1, 0, 2, 1], [1, 0, 2, 0]] = np.random.default_rng(0).normal(size=(4, 30))
    found = roughness(of_samples(samples), draws=20)
    assert np.isnan(found["quadratic_residual"].value) and np.isfinite(found["spread"].low)
    assert found.rough is None and "jaggedness" not in repr(found)


def test_an_unequal_grid_is_measured_but_for_its_correlation_length():
    axis = np.sort(np.append(AXIS, [0.0312, 0.0337]))
    samples = (1 + 10 * axis**2)[:, None] + np.random.default_rng(0).normal(size=(43, 50))
    found = roughness(Surface(axis, None, {"loss": samples.mean(axis=1)}, {"loss": samples}), draws=20)
    assert np.isnan(found["correlation_length"].value) and "equally spaced" in found["correlation_length"].note
    assert np.isfinite(found["second_difference"].floor)


def test_a_value_without_images_has_measures_but_no_floor():
    surface = Surface(AXIS, None, {"flip_rate": np.abs(AXIS)})
    found = roughness(surface, "flip_rate")
    assert found["total_variation"].value == pytest.approx(1)
    assert np.isnan(found["total_variation"].floor) and found["total_variation"].rough is None
    assert "no per-image values" in found["total_variation"].note and found.rough is None
    with pytest.raises(UserError, match="keeps no per-image 'flip_rate'"):
        surface.noise_floor("flip_rate")


def test_what_cannot_be_measured_is_told_in_one_line():
    surface = line(bowl(), images=20, seed=0)
    for call, told in [
        (lambda: roughness(surface, "accuracy"), "no value 'accuracy'"),
        (lambda: roughness(surface, images=21), "21 images are asked for, and the run has 20"),
        (lambda: roughness(of_samples(np.full((5, 4), np.nan))), "at least 3 points"),
        (lambda: replication(surface, images=1), "at least two"),
    ]:
        with pytest.raises(UserError, match=told):
            call()
    for wrong in ({"level": 95.0}, {"draws": 0}):
        with pytest.raises(ValueError, match="expected"):
            roughness(surface, **wrong)


def test_a_record_is_plain_data_and_prints_a_table():
    surface = line(jagged(0.1), images=60, seed=6)
    found = surface.roughness(draws=30)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {"name", "value", "low", "high", "floor", "unit", "rough"} <= set(record["measures"][0])
    assert record["rough"] in (True, False) and record["diagram"][0][1] is None
    text = repr(found)
    for part in ("RMS second difference", "floor", "population", "disjoint halves of 30 images", "jaggedness"):
        assert part in text
    assert "population" in repr(surface.noise_floor()) and "halves" in repr(surface.replication())
    with pytest.raises(KeyError):
        found["roughness"]


def test_the_same_seed_gives_the_same_record_and_fewer_images_the_first_of_them():
    surface = line(jagged(0.1), images=60, seed=6)
    assert roughness(surface, draws=30).to_dict() == roughness(surface, draws=30).to_dict()
    assert roughness(surface, draws=30, seed=1)["spread"].low != roughness(surface, draws=30)["spread"].low
    first = of_samples(surface.per_image["loss"][:, :40])
    assert roughness(surface, images=40, draws=30).to_dict() == roughness(first, draws=30).to_dict()
