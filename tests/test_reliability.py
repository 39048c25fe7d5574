from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.cli import main
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.quant.network import WeightQuantizer
from landscape.reliability import (
    ReliabilityOptions,
    agreements,
    descend,
    distances,
    flip_distance,
    flipped_share,
    measure_slopes,
    probe_directions,
    reliability_study,
)
from landscape.reliability.agreement import Slopes, cosine
from landscape.reliability.flips import weight_distances
from landscape.setup import load_problem

LAYERS = "blocks.7.attn.proj"


@cache
def digits(which: str = "weight", layers: str = LAYERS, **options: Any) -> Problem:
    return load_problem(layers=layers, which=which, images=12, calib_images=8, **options)


def quantizer(scale: float, zero_point: float, bits: int = 3) -> WeightQuantizer:
    return WeightQuantizer(
        bits, torch.tensor([scale], dtype=torch.float64), torch.tensor([zero_point], dtype=torch.float64)
    )


# Flips


def test_the_first_flip_of_single_weights_is_where_it_is_by_hand() -> None:
    # s = 1, z = 3, codes 0 .. 7. w = 1.2: code 4, borders at 0.5 (for growing scales) and 1.5 (for shrinking ones).
    weight = torch.tensor([[1.2, -1.2, 0.0, 9.0, 0.3]], dtype=torch.float64)
    up = weight_distances(weight, quantizer(1.0, 3.0), torch.tensor([1.0], dtype=torch.float64))
    # 9.0 is clipped at code 7 (value 4) and flips when 9 / s falls below 3.5; 0.3 stays at code 3 for ever.
    np.testing.assert_allclose(up, [math.log(1.2 / 0.5), math.log(1.2 / 0.5), np.inf, math.log(9 / 3.5), np.inf])
    down = weight_distances(weight, quantizer(1.0, 3.0), torch.tensor([-2.0], dtype=torch.float64))
    expected = [math.log(1.5 / 1.2) / 2, math.log(1.5 / 1.2) / 2, np.inf, np.inf, math.log(0.5 / 0.3) / 2]
    np.testing.assert_allclose(down, expected)


def test_a_scale_that_does_not_move_flips_nothing() -> None:
    found = weight_distances(
        torch.tensor([[1.2, -3.0]], dtype=torch.float64), quantizer(1.0, 3.0), torch.tensor([0.0], dtype=torch.float64)
    )
    assert np.isinf(found).all()


@given(
    st.lists(st.floats(-6, 6), min_size=1, max_size=8),
    st.floats(0.3, 2),
    st.integers(0, 7),
    st.sampled_from([-1.5, -0.2, 0.7]),
)
def test_codes_are_constant_up_to_the_first_flip_and_differ_beyond_it(
    values: list[float], scale: float, zero_point: int, direction: float
) -> None:
    weight = torch.tensor([values], dtype=torch.float64)
    d = torch.tensor([direction], dtype=torch.float64)
    found = weight_distances(weight, quantizer(scale, zero_point), d)

    def codes(t: float) -> np.ndarray:
        return quantizer(scale * math.exp(t * direction), zero_point).codes(weight).numpy().ravel()

    start = codes(0.0)
    for index, distance in enumerate(found):
        if math.isinf(distance):
            assert codes(3.0)[index] == start[index]
        elif distance > 1e-6:
            assert codes(distance * (1 - 1e-9))[index] == start[index]
            assert codes(distance * (1 + 1e-9))[index] != start[index]


def test_the_share_flipped_by_a_step_is_that_of_the_distances() -> None:
    problem = digits()
    direction = probe_directions(problem.space.dimension, 1, 0)[0]
    found = distances(problem, problem.centre, direction)
    assert found.shape == (48 * 48,)
    # A code that flipped may flip back only past another border, further along the same monotone way: never.
    for step in (0.001, 0.02, 0.1):
        share = flipped_share(problem, problem.centre, problem.centre * torch.exp(step * direction))
        assert share == pytest.approx(np.mean(found < step), abs=1e-12)


def test_distances_in_numbers_are_sorted_shares() -> None:
    problem = digits()
    direction = torch.ones_like(problem.centre)
    found, all_of = (
        flip_distance(problem, problem.centre, direction, "random"),
        np.sort(distances(problem, problem.centre, direction)),
    )
    assert found.nearest == all_of[0] and found.weights == len(all_of)
    assert found.quantiles["0.01"] == all_of[int(0.01 * len(all_of))]
    near = all_of[: int(0.01 * len(all_of))]
    assert found.spacing == pytest.approx(np.diff(near).mean())


# Agreement


def slopes_of(values: np.ndarray, images: int = 4) -> Slopes:
    return Slopes(0.1, np.repeat(values[:, None], images, 1), 0.0)


def test_a_gradient_agrees_with_its_own_slopes_and_not_with_others() -> None:
    directions = probe_directions(300, 64, 0)
    gradient = torch.randn(300, generator=torch.Generator().manual_seed(1)).double()
    other = torch.randn(300, generator=torch.Generator().manual_seed(2)).double()
    slopes = slopes_of((directions @ gradient).numpy())
    same, opposite, unrelated, zero = agreements(
        {"a": gradient, "b": -2 * gradient, "c": other, "d": 0 * gradient}, directions, slopes, (0.0,)
    )
    np.testing.assert_allclose((same.cosine, same.signs, same.ratio), (1, 1, 1))
    np.testing.assert_allclose((opposite.cosine, opposite.signs, opposite.ratio), (-1, 0, 2))
    assert unrelated.low < 0 < unrelated.high
    assert all(math.isnan(value) for value in (zero.cosine, zero.low, zero.high, zero.signs))
    assert same.replication == pytest.approx(1)


def test_steps_that_flip_nothing_agree_with_nothing_and_warn_of_nothing() -> None:
    directions = probe_directions(5, 3, 0)
    (found,) = agreements({"a": torch.ones(5, dtype=torch.float64)}, directions, slopes_of(np.zeros(3)), (0.0,))
    assert all(math.isnan(value) for value in (found.cosine, found.low, found.signs, found.replication, found.ratio))


def test_the_cosine_of_slopes_estimates_the_cosine_of_gradients() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(400)
    b = 0.6 * a + 0.8 * rng.standard_normal(400)
    directions = probe_directions(400, 4000, 3)
    slopes = slopes_of(directions.numpy() @ b, 2)
    (found,) = agreements({"a": torch.from_numpy(a)}, directions, slopes, (0.0,))
    assert found.low < cosine(a, b) < found.high
    assert found.cosine == pytest.approx(cosine(a, b), abs=0.05)


def test_noise_of_images_does_not_replicate() -> None:
    noise = np.random.default_rng(0).standard_normal((200, 10))
    directions = probe_directions(5, 200, 0)
    (found,) = agreements({"a": torch.ones(5).double()}, directions, Slopes(0.1, noise, 0.0), (0.0,))
    assert abs(found.replication) < 0.25


def test_slopes_are_central_differences_of_the_exact_loss() -> None:
    problem = digits()
    directions = probe_directions(problem.space.dimension, 2, 0)
    found = measure_slopes(problem, problem.centre, directions, 0.05, "loss")
    ends = [problem.centre * torch.exp(sign * 0.05 * directions[1]) for sign in (1, -1)]
    ahead, behind = (each.values["loss"] for each in problem.evaluate(ends))
    assert found.per_image.shape == (2, 12)
    assert found.per_image[1].mean() == pytest.approx((ahead - behind) / 0.1)
    assert 0 < found.flipped < 1


# Descent


def test_steps_against_the_gradient_of_a_smooth_loss_fall_as_predicted() -> None:
    problem = digits(which="activation", layers="head")
    assert problem.space.names == ("head.output",)
    # The scale of the last quantizer multiplies the logits: a smooth function, whose true derivative is known.
    gradient = problem.gradient(problem.centre, "loss", "almost-everywhere").relative
    steps = [1e-4, 1e-3, 1e-2]
    found = descend(
        problem,
        problem.centre,
        gradient,
        steps,
        "loss",
        estimator="almost-everywhere",
        images="calibration",
        coordinates=(0.0,),
    )
    assert found.predicted[0] == pytest.approx(-1e-4 * abs(float(gradient[0])))
    assert math.isnan(found.flipped[0])  # no weight scale moves
    assert len(found.change) == 3 and found.low[1] <= found.change[1] <= found.high[1]


def test_where_the_loss_rises_again_is_the_first_step_above_the_start() -> None:
    problem = digits()
    direction = probe_directions(problem.space.dimension, 1, 0)[0]
    found = descend(
        problem,
        problem.centre,
        direction,
        [1e-7, 0.01, 0.3, 1.0],
        "loss",
        estimator="random",
        images="test",
        coordinates=(0.0,),
    )
    above = [step for step, change in zip(found.steps, found.change, strict=True) if change > 0]
    assert found.falls_until == (above[0] if above else None)
    assert found.change[0] == 0.0 and found.flipped[0] == 0.0  # nearer than the first flip: a plateau
    assert found.best_change <= 0 and all(math.isnan(value) for value in found.predicted)


# The study


def test_the_study_covers_points_steps_estimators_and_both_sets_of_images() -> None:
    problem = digits()
    options = ReliabilityOptions(dims=2, points=3, directions=3, steps=2, descent_steps=2, dtype="float32")
    report = reliability_study(problem, problem, options)
    assert len(report.agreements) == 9 * 2 * 3
    assert report.agreements[0].coordinates == (0.0, 0.0)
    # The gradients of frozen weights are zero under weight correction: there is no step against them.
    assert {fall.estimator for fall in report.descents} == {"straight-through", "random"}
    assert {fall.images for fall in report.descents} == {"calibration", "test"}
    assert [flip.direction for flip in report.flips] == ["random", "straight-through descent"]
    assert -1 <= report.replications["straight-through"] <= 1
    json.dumps(report.to_dict())


def test_without_weight_scales_there_are_no_flips_of_weights() -> None:
    problem = digits(which="activation")
    options = ReliabilityOptions(points=1, directions=2, steps=1, descent_steps=1, estimators="straight-through")
    report = reliability_study(problem, None, options)
    assert report.flips == () and math.isnan(report.agreements[0].flipped)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimators": "magic"}, "unknown gradient estimator"),
        ({"dims": 3}, "--dims"),
        ({"points": 2}, "odd"),
        ({"directions": 1}, "at least 2"),
        ({"smallest_step": 0.0}, "positive"),
        ({"dtype": "int8"}, "--dtype"),
        ({"loss": "nonsense"}, "unknown loss"),
    ],
)
def test_options_of_the_study_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ReliabilityOptions(**options)


def test_the_command_prints_tables_or_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reliability", "--layers", LAYERS, "--images", "6", "--search-images", "6", "--calib-images", "4"]
    arguments += ["--points", "1", "--directions", "2", "--steps", "1", "--descent-steps", "2"]
    file = tmp_path / "reliability.json"
    assert main([*arguments, "--out", str(file)]) == 0
    assert "straight-through" in capsys.readouterr().out
    assert json.loads(file.read_text())["agreements"]
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["agreements"][1]["cosine"] is None  # a zero gradient has no cosine, and NaN is no JSON
    assert main([*arguments, "--out", str(tmp_path / "absent" / "file.json")]) == 2
    assert "does not exist" in capsys.readouterr().err
