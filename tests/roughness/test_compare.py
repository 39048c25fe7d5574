from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from landscape.errors import UserError
from landscape.roughness import generalisation_gap, rank_correlations, rank_lines
from landscape.surface import Surface
from tests.roughness.surfaces import AXIS, bowl, jagged


def surface(images=400, seed=0, noise=0.02, **populations):
    """Several losses on the same images, whose noise is shared by all losses."""
    generator = np.random.default_rng(seed)
    shared = noise * generator.normal(size=(41, images))
    samples = {name: population[:, None] + shared for name, population in populations.items()}
    return Surface(AXIS, None, {name: s.mean(axis=1) for name, s in samples.items()}, samples, {"seed": 0})


def test_the_measured_correlation_is_spearmans():
    scanned = surface(loss=jagged(0.02, seed=1), kl=jagged(0.02, seed=2))
    (row,) = rank_correlations(scanned, draws=100)
    assert row.value == "kl" and row.against == "loss" and row.points == 41
    assert row.spearman == pytest.approx(spearmanr(scanned.values["loss"], scanned.values["kl"]).statistic)
    assert row.low < row.spearman < row.high


def test_shared_noise_correlates_measured_surfaces_and_not_the_populations():
    """Two unrelated surfaces, buried in noise that both see: the correlation is the sample's."""
    populations = {"loss": jagged(0.01, seed=1) - bowl(), "mse": jagged(0.01, seed=2) - bowl()}
    truth = np.corrcoef(*populations.values())[0, 1]
    rows = [rank_correlations(surface(seed=s, noise=0.2, **populations), draws=2)[0] for s in range(20)]
    assert np.mean([row.spearman for row in rows]) > truth + 0.2
    assert np.nanmedian([row.population for row in rows]) == pytest.approx(truth, abs=0.15)


def test_top1_is_ranked_by_its_error():
    correct = (np.random.default_rng(0).random((41, 4000)) > bowl()[:, None] * 10 - 9.9).astype(float)
    scanned = Surface(
        AXIS, None, {"top1": 100 * correct.mean(axis=1), "loss": bowl()}, {"top1": correct, "loss": 1 - correct}
    )
    (row,) = rank_correlations(scanned, draws=20)
    assert row.spearman == pytest.approx(1)


def test_infonce_is_compared_by_whole_batches_of_both():
    scanned = surface(images=500, loss=jagged(0.02), infonce=jagged(0.02))
    (row,) = rank_correlations(scanned, draws=50)
    assert row.spearman == pytest.approx(1) and row.low == pytest.approx(1) and row.images == 500


def test_a_surface_that_holds_on_other_images_gains_what_it_promises():
    calibration, test = (surface(seed=s, loss=jagged(0.05)) for s in (1, 2))
    found = generalisation_gap(calibration, test, draws=200)
    best = jagged(0.05).argmin()
    assert found.gain == pytest.approx(jagged(0.05)[20] - jagged(0.05)[best], abs=0.01)
    assert found.gain_low < found.gain < found.gain_high and found.regret == 0
    assert found.ranks.spearman > 0.9 and found.ranks.population == pytest.approx(1, abs=0.02)
    assert found.gap == pytest.approx(0, abs=0.01) and found.surface.shape == (41,)
    json.dumps(found.to_dict(), allow_nan=False)


def test_noise_that_is_chosen_by_calibration_images_gains_nothing():
    gains = []
    for seed in range(20):
        calibration, test = (surface(seed=s, noise=0.5, loss=np.ones(41)) for s in (seed, 100 + seed))
        found = generalisation_gap(calibration, test, draws=50)
        assert calibration.values["loss"][20] - calibration.values["loss"].min() > 0
        gains.append(found.gain)
    # sd of a difference of two means of 400: 0.5 sqrt(2 / 400); of 20 such, a 4.5th of that.
    assert abs(np.mean(gains)) < 4 * 0.5 * np.sqrt(2 / 400 / 20)


def test_runs_on_other_grids_or_directions_are_refused():
    one = surface(loss=bowl())
    other = Surface(2 * AXIS, None, one.values, one.per_image, one.settings)
    with pytest.raises(UserError, match="different grids"):
        generalisation_gap(one, other)
    other = Surface(AXIS, None, one.values, one.per_image, {"seed": 1})
    with pytest.raises(UserError, match="different directions"):
        generalisation_gap(one, other)


def test_rows_print_as_a_table():
    lines = rank_lines(rank_correlations(surface(loss=jagged(0.02), kl=jagged(0.03)), draws=10))
    assert len(lines) == 3 and lines[-1].startswith("kl")
    assert rank_lines(()) == ["no other values to compare"]
