"""The search space and the objective of a quantized network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolq.optimizer import Query
from evolq.space import SpaceOptions, network_space
from landscape.engine import Evaluator, Reference
from landscape.errors import UserError
from landscape.losses import Outputs, info_nce


def random_point(objective, seed=0, size=0.05):
    point = size * np.random.default_rng(seed).standard_normal(objective.info.dimension)
    return np.where(objective.info.integer, 30 * point, point)


def test_zero_is_the_start_and_shares_its_parameters(study):
    space = study.objective(SpaceOptions("all", zero_points=True)).space
    network = space.at(np.zeros(space.info.dimension))
    for name in space.names:
        assert network.scale(name) is space.network.scale(name)


def test_a_coordinate_multiplies_a_scale_and_shifts_a_zero_point(study):
    space = study.objective(SpaceOptions("weights", zero_points=True)).space
    name = "blocks.3.attn.proj.weight"
    point = np.zeros(space.info.dimension)
    point[space.columns(name).start + 2] = 0.1
    point[space.columns(name, zero_point=True).start + 1] = 1.4
    point[space.columns(name, zero_point=True)][3] = -100.0
    point[space.columns(name, zero_point=True).start + 3] = -100.0
    network, start = space.at(point), space.network
    layer = name.removesuffix(".weight")
    assert float(network.scale(name)[2]) == pytest.approx(float(start.scale(name)[2]) * np.exp(0.1), rel=1e-15)
    moved, old = network.weights[layer].zero_point, start.weights[layer].zero_point
    assert float(moved[1]) == min(float(old[1]) + 1, 7)
    assert float(moved[3]) == 0.0
    assert torch.equal(moved[4:], old[4:])


def test_the_point_of_given_parameters_leads_back_to_them(study):
    space = study.objective(SpaceOptions("weights", zero_points=True)).space
    point = random_point(study.objective(SpaceOptions("weights", zero_points=True)))
    network = space.at(point)
    scales = {name: network.scale(name) for name in space.names}
    zero_points = {name: network.weights[name.removesuffix(".weight")].zero_point for name in space.names}
    again = space.at(space.point(scales, zero_points))
    for name in space.names:
        torch.testing.assert_close(again.scale(name), network.scale(name), rtol=1e-14, atol=0)
        assert torch.equal(again.weights[name.removesuffix(".weight")].zero_point, zero_points[name])


def test_tied_channels_move_together(study):
    space = study.objective(SpaceOptions("weights", tie=True)).space
    assert space.info.dimension == len(space.names)
    point = np.zeros(space.info.dimension)
    point[1] = -0.3
    name = space.names[1]
    ratio = space.at(point).scale(name) / space.network.scale(name)
    np.testing.assert_allclose(ratio.numpy(), np.exp(-0.3), rtol=1e-14)


def test_groups_are_blocks_from_input_to_output_and_hold_every_coordinate_once(study):
    info = study.objective(SpaceOptions("all", zero_points=True)).info
    blocks = [name for name in info.group_names if name.startswith("blocks.")]
    assert blocks == [f"blocks.{number}" for number in range(len(blocks))]
    assert sorted(np.concatenate(info.groups).tolist()) == list(range(info.dimension))


def test_the_released_space_is_qkv_and_proj_of_every_attention(study):
    space = study.objective(SpaceOptions("attention")).space
    assert space.names[:2] == ("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight")
    assert len(space.info.groups) == len(study.search.network.graph.attention())
    for group in range(len(space.info.groups)):
        assert space.names_of_group(group) == space.names[2 * group : 2 * group + 2]


def test_a_value_is_the_mean_of_the_exact_losses_however_it_is_asked_for(study):
    objective = study.objective(SpaceOptions("all", zero_points=True))
    point = random_point(objective)
    network = objective.space.at(point)
    logits = Evaluator(network, study.search.images, (), Reference).logits(network)
    options = study.search.loss_options
    expected = float(info_nce(Outputs(logits, study.search.images.labels, study.search.teacher, options)).mean())

    (whole,) = objective.answer(Query(point[None])).values
    assert whole == pytest.approx(expected, rel=1e-14)
    for group in (0, len(objective.info.groups) - 1):
        answer = objective.answer(Query(point[None], group=group))
        assert answer.values[0] == whole
    halves = [objective.answer(Query(point[None], group=1, parts=(part,))).values[0] for part in (0, 1)]
    assert np.mean(halves) == pytest.approx(whole, rel=1e-14)
    np.testing.assert_array_equal(objective.answer(Query(point[None])).part_values[0], halves)
    assert objective.spent == 40 * 3 + 20 * 2 + 40


def test_a_group_is_measured_anew_when_something_before_it_has_moved(study):
    objective = study.objective(SpaceOptions("weights"))
    last = len(objective.info.groups) - 2
    first, second = random_point(objective, 1), random_point(objective, 1)
    second[objective.info.groups[1]] += 0.2
    for point in (first, second, first):
        fresh = study.objective(SpaceOptions("weights"))
        np.testing.assert_array_equal(
            objective.answer(Query(point[None], group=last)).values, fresh.answer(Query(point[None])).values
        )


def test_the_gradient_is_that_of_the_problem_summed_over_tied_channels(study):
    free, tied = (study.objective(SpaceOptions("weights", tie=tie)) for tie in (False, True))

    def slope(objective):
        point = np.zeros((1, objective.info.dimension))
        return objective.answer(Query(point, gradient="straight-through", images=(0, 1, 2, 3))).gradients[0]

    gradient, sums = slope(free), slope(tied)
    sizes = np.cumsum(free.space.part_sizes)[:-1]
    np.testing.assert_allclose(sums, [part.sum() for part in np.split(gradient, sizes)], rtol=1e-9, atol=1e-12)
    assert np.abs(gradient).max() > 0 and free.spent == 12


def test_zero_points_have_no_gradient(study):
    objective = study.objective(SpaceOptions("weights", zero_points=True))
    query = Query(np.zeros((1, objective.info.dimension)), gradient="straight-through")
    with pytest.raises(UserError, match="zero points are integers"):
        objective.answer(query)


def test_a_space_that_a_network_does_not_have_is_told(study):
    with pytest.raises(UserError, match="--scales 'biases' is unknown"):
        SpaceOptions("biases")
    with pytest.raises(ValueError, match="point has shape"):
        network_space(study.search.network, SpaceOptions()).at(np.zeros(3))
