"""Evol-Q, ours: lists of channels, what exchanging their entries does, and guided children."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import evolq
from evolq.channel_lists import linear_terms, make_lists, present_weights
from evolq.float_pass import layer_batches, weight_gradients
from evolq.layerwise import Grid, choose_all, collect
from evolq.methods.layerwise import least_within
from evolq.space import SpaceOptions
from landscape.errors import UserError
from landscape.quant.calibrate import float_values

LAYERS = ["blocks.1.attn.qkv", "blocks.2.mlp.fc2"]


@pytest.fixture(scope="module")
def made(study):
    space = study.objective(SpaceOptions("weights", zero_points=True)).space
    images = study.search.images.select(range(8))
    metrics = {kind: collect(study.search.network, images, kind, LAYERS) for kind in ("inputs", "tokens")}
    choices = [choose_all(study.search.network, metric, Grid(steps=9, zero_points=1), 3) for metric in metrics.values()]
    lists, seeds = make_lists(space, metrics["inputs"], choices, 8, 0.1)
    return space, lists, seeds, choices, images


def weights_of(space, layer):
    node = space.network.graph[layer]
    assert node.weight is not None
    return node.weight.double().flatten(1)


def dequantized(space, lists, layer, index):
    """In float64, by the network itself."""
    point = np.zeros(space.info.dimension)
    lists.put(point, np.arange(len(index)), index)
    return space.at(point).operand(layer).dequantized().flatten(1)


def test_what_the_layers_read_is_what_the_float_network_computes(study):
    images = study.search.images.select(range(4))
    graph = study.search.network.graph
    values = {node.name: value for node, value in float_values(graph, images.normalized())}
    (batches,) = layer_batches(graph, images, gradients=False)
    for batch in batches:
        if batch.node.op == "linear":
            expected = values[batch.node.inputs[0]].reshape(1, -1, batch.inputs.shape[2])
            torch.testing.assert_close(batch.inputs.double(), expected, rtol=1e-3, atol=1e-4)
        else:  # what a convolution's windows times its weight give is its output
            assert batch.node.weight is not None and batch.node.bias is not None
            out = batch.inputs @ batch.node.weight.flatten(1).T + batch.node.bias
            expected = values[batch.node.name].flatten(2).transpose(1, 2).reshape(out.shape)
            torch.testing.assert_close(out.double(), expected, rtol=1e-3, atol=1e-3)


def test_proposals_are_the_start_and_each_metrics_best(made):
    space, lists, seeds, choices, _ = made
    start = np.zeros(space.info.dimension)
    lists.put(start, np.arange(len(lists.layer)), seeds[0])
    assert not start.any()
    for number, choice in enumerate(choices):
        point = np.zeros(space.info.dimension)
        lists.put(point, np.arange(len(lists.layer)), seeds[1 + number])
        network = space.at(point)
        for layer in LAYERS:
            torch.testing.assert_close(network.weights[layer].scale, choice[layer].scale[0], rtol=1e-13, atol=0)
            assert torch.equal(network.weights[layer].zero_point, choice[layer].zero_point[0])


def test_entries_of_a_list_have_different_codes(made):
    space, lists, *_ = made
    for number, layer in enumerate(LAYERS):
        for entry in (2, 3):
            index = np.full(len(lists.layer), 1)
            first = dequantized(space, lists, layer, index)
            second = dequantized(space, lists, layer, np.where(lists.layer == number, entry, 1))
            assert ((first != second).any(dim=1)).double().mean() > 0.95


def test_quadratic_terms_are_half_the_squared_change_of_the_layers_output(made):
    space, lists, seeds, _, images = made
    graph = space.network.graph
    values = {node.name: value for node, value in float_values(graph, images.normalized())}
    for number, layer in enumerate(LAYERS):
        x = values[graph[layer].inputs[0]]
        x = x.reshape(-1, x.shape[-1])
        mine = lists.layer == number
        change = dequantized(space, lists, layer, seeds[2]) - dequantized(space, lists, layer, seeds[0])
        expected = 0.5 * (x @ change.T).square().sum(0).numpy() / len(images)
        found = lists.quadratic[np.flatnonzero(mine), seeds[2][mine], seeds[0][mine]]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6 * expected.max())


def test_the_gradient_in_the_weights_is_the_slope_of_the_loss(study, made):
    space, lists, seeds, *_ = made
    rows = list(range(10))
    weights = present_weights(space, lists, LAYERS, seeds[1])
    problem = study.search
    slopes = weight_gradients(problem, weights, rows, "kl")
    generator = torch.Generator().manual_seed(0)
    for layer in LAYERS:
        direction = torch.randn(weights[layer].shape, generator=generator) * weights[layer].std()

        def value(step, layer=layer, direction=direction):
            moved = {**weights, layer: weights[layer] + step * direction}
            return float_kl(problem, moved, rows)

        slope = (value(0.01) - value(-0.01)) / 0.02
        assert float((slopes[layer] * direction).sum()) == pytest.approx(slope, rel=0.05, abs=1e-5)


def float_kl(problem, weights, rows):
    """Mean KL divergence of the float network with other weights, computed by `torch` itself in float64."""
    from landscape.engine.reference import FloatPass

    class Replaced(FloatPass):
        def weight(self, node):
            found = weights.get(node.name)
            return super().weight(node) if found is None else found.double()

    passed = Replaced(problem.network.graph)
    values: dict[str, torch.Tensor] = {}
    images = problem.images.normalized(rows, torch.float64)
    for node in problem.network.graph:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = images if node.op == "input" else passed.apply(node, inputs, len(rows))
    student = torch.log_softmax(values[problem.network.graph.output], 1)
    teacher = torch.log_softmax(problem.teacher[rows], 1)
    return float((teacher.exp() * (teacher - student)).sum(1).mean())


def test_linear_terms_are_the_gradient_times_the_change(made):
    space, lists, seeds, *_ = made
    generator = torch.Generator().manual_seed(1)
    present = present_weights(space, lists, LAYERS, seeds[1])
    slopes = {layer: torch.randn(weight.shape, generator=generator) for layer, weight in present.items()}
    linear = linear_terms(space, lists, LAYERS, seeds[1], slopes)
    for number, layer in enumerate(LAYERS):
        mine = lists.layer == number
        change = dequantized(space, lists, layer, seeds[2]) - dequantized(space, lists, layer, seeds[1])
        expected = (change * slopes[layer].double().flatten(1)).sum(1).numpy()
        found = linear[np.flatnonzero(mine), seeds[2][mine]]
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())
        np.testing.assert_array_equal(linear[np.flatnonzero(mine), seeds[1][mine]], 0.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_a_guided_child_changes_at_most_its_share_and_takes_the_most_promising(share):
    generator = np.random.default_rng(0)
    linear = generator.standard_normal((400, 5))
    quadratic = generator.random((400, 5)) + 0.1
    index = generator.integers(0, 5, 400)
    linear[np.arange(400), index] = quadratic[np.arange(400), index] = 0.0
    found = least_within(linear, quadratic, index, share)
    changed = found != index
    assert changed.mean() <= share
    if share >= 0.05:
        assert changed.mean() >= 0.9 * min(share, (linear.min(axis=1) < 0).mean())
    gains = linear[np.arange(400), found]
    assert (gains[changed] < 0).all()


def test_entries_with_the_same_codes_do_not_count_as_changes():
    linear, quadratic = np.array([[0.0, -1e-12, -1.0]]), np.array([[0.0, 0.0, 0.1]])
    assert least_within(linear, quadratic, np.array([0]), 1.0).tolist() == [2]
    assert least_within(linear[:, :2], quadratic[:, :2], np.array([0]), 1.0).tolist() == [0]


def test_a_gradient_that_is_not_finite_changes_nothing():
    linear, quadratic = np.array([[0.0, np.nan]]), np.array([[0.0, 0.1]])
    assert least_within(linear, quadratic, np.array([0]), 1.0).tolist() == [0]


def test_ours_finds_a_lower_loss_than_released_and_than_its_own_proposals_at_equal_budget(study):
    options = evolq.SearchOptions(search_images=40, budget=1600)
    longer = evolq.Study(options, study.ingredients, study.search, study.test)
    quick = {"evolq/ours": "steps=9,top=4", "evolq/released": None, "hessian/tokens": "steps=9"}
    ends: dict[str, Any] = {method: evolq.optimize(longer, method, settings=text) for method, text in quick.items()}
    losses = {method: found.result["end"]["search"]["infonce"] for method, found in ends.items()}
    assert losses["evolq/ours"] < min(losses["evolq/released"], losses["hessian/tokens"])
    assert ends["evolq/ours"].result["spent"] <= 1600


def test_settings_of_ours_are_checked(study):
    for settings, words in (("metrics=all", "metrics 'all'"), ("reach=0", "reach and share"), ("top=0", "at least 1")):
        with pytest.raises(UserError, match=words):
            evolq.optimize(study, "evolq/ours", settings=settings)


def test_ours_wants_weight_scales(study):
    with pytest.raises(UserError, match="use --scales weights"):
        evolq.optimize(study, "evolq/ours", scales="activations", zero_points=False)
