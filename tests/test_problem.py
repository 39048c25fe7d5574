from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from landscape.engine import Reference
from landscape.errors import UserError
from landscape.losses import LossOptions
from landscape.problem import Problem, teacher_logits
from landscape.setup import ProblemOptions, build, gather, load_problem


@cache
def digits(**options: Any) -> Problem:
    return load_problem(**{"block": 7, "images": 14, "calib_images": 8, **options})


def moved(problem: Problem, size: float = 0.05) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(problem.space.dimension, generator=generator, dtype=torch.float64)
    return problem.centre * torch.exp(size * noise)


def test_the_centre_has_no_flips_and_the_losses_of_the_reference_arithmetic() -> None:
    problem = digits()
    (found,) = problem.evaluate([problem.centre])
    plain = replace(problem, arithmetic=Reference)
    (expected,) = plain.evaluate([problem.centre])
    assert found.values == expected.values and found.values["flip_rate"] == 0.0


def test_values_are_means_of_the_losses_of_single_images() -> None:
    problem = digits()
    (found,) = problem.evaluate([moved(problem)])
    for name, factor in (("loss", 1), ("infonce", 1), ("top1", 100)):
        assert found.per_image[name].shape == (14,)
        assert found.values[name] == pytest.approx(factor * found.per_image[name].mean())
    assert set(found.per_image["top1"]) <= {0.0, 1.0}


def test_the_cross_entropy_is_that_of_the_engine_s_logits() -> None:
    problem = digits()
    point = moved(problem)
    logits = problem.evaluator.logits(problem.network.with_scales(problem.space.scales(point)))
    expected = functional.cross_entropy(logits, problem.images.labels, reduction="none")
    np.testing.assert_array_equal(problem.evaluate([point])[0].per_image["loss"], expected.numpy())


def test_a_problem_shows_itself_in_one_line() -> None:
    problem = replace(digits(), arithmetic=Reference)
    scales = "192 scales of blocks.7.attn.qkv.weight, blocks.7.attn.proj.weight"
    assert repr(problem) == f"Problem(digits_vit w4a8, {scales}, 14 images, engine reference)"
    many = load_problem(layers="*", images=4, calib_images=8)
    assert " and 32 more, 4 images" in repr(many) and len(repr(many)) < 200


def test_what_a_notebook_shows_of_the_parts_is_a_line() -> None:
    found = gather(ProblemOptions(block=1, images=5, calib_images=8))
    problem = build(found, engine="reference")
    for part in (found, found.graph, found.images, found.model, problem.space, problem.network):
        assert repr(part).startswith(f"{type(part).__name__}(") and len(repr(part)) < 160, repr(part)
    assert "2 of 129 tensors' scales" in repr(found) and "1 x 8 x 8, val of digits, seed 0" in repr(found.images)


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 5}, {"cache_bytes": 0}])
def test_chunks_and_cache_change_no_value(options: dict[str, Any]) -> None:
    problem = digits()
    point = moved(problem)
    expected, found = (each.evaluate([point])[0] for each in (problem, replace(problem, **options)))
    assert found.values == expected.values
    np.testing.assert_array_equal(found.per_image["infonce"], expected.per_image["infonce"])


def test_a_point_is_worth_the_same_whatever_was_evaluated_before_it() -> None:
    problem = digits()
    points = [moved(problem), problem.centre, moved(problem, 0.2)]
    together = problem.evaluate(points)
    for point, expected in zip(points, together, strict=True):
        assert replace(problem).evaluate([point])[0].values == expected.values


@pytest.mark.parametrize("which", ["weight", "activation", "both"])
def test_the_flip_rate_is_the_share_of_codes_that_differ(which: str) -> None:
    problem = digits(which=which)
    point = moved(problem)
    network = problem.network.with_scales(problem.space.scales(point))
    changed = total = 0
    for layer in (name.removesuffix(".weight") for name in problem.space.names if name.endswith(".weight")):
        weight = network.graph[layer].weight
        assert weight is not None
        first, second = (each.weights[layer].codes(weight) for each in (problem.network, network))
        changed, total = changed + int((first != second).sum()), total + first.numel()
    rate = problem.evaluate([point])[0].values["flip_rate"]
    if which == "weight":
        assert rate == changed / total
    assert 0 < rate < 1


def test_the_float_network_is_the_teacher_and_has_no_distance_to_itself() -> None:
    problem = digits(losses="loss,mse,kl,cosine")
    values = problem.float_values()
    expected = functional.cross_entropy(problem.teacher, problem.images.labels)
    assert values["loss"] == pytest.approx(float(expected))
    assert values["mse"] == 0.0 and values["kl"] == 0.0 and abs(values["cosine"]) < 1e-12


def test_teacher_logits_do_not_change_the_module() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images = digits().images
    found = teacher_logits(module, images)
    assert found.dtype == torch.float64
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    torch.testing.assert_close(found, module(images.normalized()).double(), rtol=1e-5, atol=1e-5)


def test_losses_follow_their_options() -> None:
    problem = digits()
    other = replace(problem, loss_options=LossOptions(temperature=0.5, names=("infonce", "infonce@3")))
    found, plain = (each.evaluate([problem.centre])[0].values for each in (other, problem))
    assert found["infonce@3"] == plain["infonce"] and found["infonce"] != plain["infonce"]


def test_progress_counts_every_image_once_for_each_point() -> None:
    problem, seen = digits(), list[int]()
    problem.evaluate([problem.centre, moved(problem)], seen.append)
    assert sum(seen) == 2 * 14


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_are_not_positive_and_finite_are_refused(value: float) -> None:
    problem = digits()
    point = problem.centre.clone()
    point[3] = value
    with pytest.raises(UserError, match="positive and finite"):
        problem.evaluate([point])


def test_a_point_of_another_dimension_is_refused() -> None:
    problem = digits()
    with pytest.raises(ValueError, match="shape"):
        problem.evaluate([problem.centre[1:]])


def test_the_surrogate_is_made_once_for_each_number_type() -> None:
    problem = digits()
    assert problem.surrogate() is problem.surrogate(torch.float64)
    assert problem.surrogate(torch.float32).dtype == torch.float32
