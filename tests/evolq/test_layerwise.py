"""Evol-Q, ours: lists of channels, what a gradient says of their entries, and the descent through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import evolq
from evolq.channel_lists import ChannelLists, linear_terms, make_lists, present_weights
from evolq.float_pass import layer_batches, weight_gradients
from evolq.layerwise import Grid, choose_all, collect
from evolq.methods.layerwise import least, rate_that_changes
from evolq.space import SpaceOptions
from landscape.errors import UserError
from landscape.quant.calibrate import float_values

LAYERS = ["blocks.1.attn.qkv", "blocks.2.mlp.fc2"]


@pytest.fixture(scope="module")
def made(study):
    space = study.objective(SpaceOptions("weights", zero_points=True)).space
    images = study.search.images.select(range(8))
    metrics = collect(study.search.network, images, "inputs", LAYERS)
    choices = choose_all(study.search.network, metrics, Grid(steps=9, zero_points=1), 3)
    return space, make_lists(space, metrics, choices, 8), choices, images


def everywhere(lists, entry):
    """The same entry of every channel."""
    return np.full(len(lists.layer), entry)


def weights_of(space, layer):
    node = space.network.graph[layer]
    assert node.weight is not None
    return node.weight.double().flatten(1)


def dequantized(space, lists, layer, index):
    """In float64, by the network itself."""
    point = np.zeros(space.info.dimension)
    lists.put(point, index)
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


def test_entries_are_the_start_and_then_what_the_metric_chose(made):
    space, lists, choices, _ = made
    point = np.zeros(space.info.dimension)
    lists.put(point, everywhere(lists, 0))
    assert not point.any()
    for rank in range(3):
        lists.put(point, everywhere(lists, 1 + rank))
        network = space.at(point)
        for layer in LAYERS:
            torch.testing.assert_close(network.weights[layer].scale, choices[layer].scale[rank], rtol=1e-13, atol=0)
            assert torch.equal(network.weights[layer].zero_point, choices[layer].zero_point[rank])


def test_entries_of_a_list_have_different_codes(made):
    space, lists, *_ = made
    for number, layer in enumerate(LAYERS):
        for entry in (2, 3):
            first = dequantized(space, lists, layer, everywhere(lists, 1))
            second = dequantized(space, lists, layer, np.where(lists.layer == number, entry, 1))
            assert ((first != second).any(dim=1)).double().mean() > 0.95


@pytest.mark.parametrize("entry", [0, 1, 3])
def test_errors_are_half_the_squared_change_of_the_layers_output(made, entry):
    space, lists, _, images = made
    graph = space.network.graph
    values = {node.name: value for node, value in float_values(graph, images.normalized())}
    for number, layer in enumerate(LAYERS):
        x = values[graph[layer].inputs[0]]
        x = x.reshape(-1, x.shape[-1])
        change = dequantized(space, lists, layer, everywhere(lists, entry)) - weights_of(space, layer)
        expected = 0.5 * (x @ change.T).square().sum(0).numpy() / len(images)
        found = lists.error[lists.layer == number, entry]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6 * expected.max())


def test_the_gradient_in_the_weights_is_the_slope_of_the_loss(study, made):
    space, lists, *_ = made
    rows = list(range(10))
    weights = present_weights(space, lists, LAYERS, everywhere(lists, 1))
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


def test_linear_terms_are_the_gradient_times_the_change_from_the_start(made):
    space, lists, *_ = made
    generator = torch.Generator().manual_seed(1)
    present = present_weights(space, lists, LAYERS, everywhere(lists, 1))
    slopes = {layer: torch.randn(weight.shape, generator=generator) for layer, weight in present.items()}
    linear = linear_terms(space, lists, LAYERS, slopes)
    np.testing.assert_array_equal(linear[:, 0], 0.0)
    for number, layer in enumerate(LAYERS):
        start = dequantized(space, lists, layer, everywhere(lists, 0))
        change = dequantized(space, lists, layer, everywhere(lists, 2)) - start
        expected = (change * slopes[layer].double().flatten(1)).sum(1).numpy()
        found = linear[lists.layer == number, 2]
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_the_first_rate_changes_the_share_of_channels_that_was_asked_for(share):
    generator = np.random.default_rng(0)
    table, error = generator.standard_normal((4000, 5)), generator.random((4000, 5))
    before, rate = np.argmin(error, axis=1), rate_that_changes(table, error, share)
    changed = np.mean(np.argmin(rate * table + error, axis=1) != before)
    assert share - 0.005 <= changed <= share
    assert np.mean(np.argmin(1.01 * rate * table + error, axis=1) != before) > changed - 1e-12


def test_a_share_that_no_rate_reaches_is_cut_to_nine_tenths_of_what_can_change():
    error, table = np.tile([0.1, 0.3], (1000, 1)), np.zeros((1000, 2))
    table[:100, 1] = -np.linspace(1, 2, 100)  # these change at rates between 0.1 and 0.2, the others never
    rate = rate_that_changes(table, error, 0.5)
    assert np.sum(np.argmin(rate * table + error, axis=1)) == 90 and 0.1 < rate < 0.2
    assert np.isnan(rate_that_changes(np.zeros((1000, 2)), error, 0.5))


def test_a_channel_changes_as_soon_as_enough_slopes_have_agreed_on_another_entry():
    """Two entries with errors 0.1 and 0.3: slopes of -0.07 for the second win at the third step, 3 x 0.07 > 0.2."""
    error, slope = np.array([[0.1, 0.3]]), np.array([[0.0, -0.07]])
    assert [int(least(steps * slope, error)[0]) for steps in range(5)] == [0, 0, 0, 1, 1]
    assert least(np.zeros((1, 2)), np.array([[0.2, 0.2]])).tolist() == [0]


def test_entries_are_drawn_with_the_chances_of_their_error_and_slopes():
    """Errors 1, 1 and 2, slopes 0, 0.1 and -0.9, spread 0.1: energies 0, 1 and 1 above the least, in temperatures."""
    error, slopes = np.tile([1.0, 1.0, 2.0], (30000, 1)), np.tile([0.0, 0.1, -0.9], (30000, 1))
    columns, layer = np.zeros((30000, 2), dtype=np.int64), np.zeros(30000, dtype=np.int64)
    lists = ChannelLists(columns, np.zeros((30000, 3, 2)), error, layer)
    drawn = lists.draw(np.arange(30000), slopes, 0.1, np.random.default_rng(0))
    chances = np.array([1.0, np.exp(-1), np.exp(-1)]) / (1 + 2 * np.exp(-1))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 30000, chances, atol=0.01)


def test_ours_finds_a_lower_loss_than_released_and_than_its_own_proposals_at_equal_budget(study):
    options = evolq.SearchOptions(search_images=40, budget=1600)
    longer = evolq.Study(options, study.ingredients, study.search, study.test)
    quick = {"evolq/ours": "steps=9,top=4,batch=10,check=4", "evolq/released": None, "hessian/tokens": "steps=9"}
    ends: dict[str, Any] = {method: evolq.optimize(longer, method, settings=text) for method, text in quick.items()}
    losses = {method: found.result["end"]["search"]["infonce"] for method, found in ends.items()}
    assert losses["evolq/ours"] < min(losses["evolq/released"], losses["hessian/tokens"])
    assert ends["evolq/ours"].result["spent"] <= 1600


def test_the_descent_alone_goes_below_the_proposal_it_begins_with(study):
    longer = evolq.Study(
        evolq.SearchOptions(search_images=40, budget=1600), study.ingredients, study.search, study.test
    )
    found = evolq.optimize(longer, "evolq/ours", settings="steps=9,top=4,batch=10,check=4,descent=1,images=40")
    path = found.trajectory
    assert len(path) > 5 and path.best[-1] < path.value[1] < path.value[0]
    # 40 images with their backward passes for the metric; the proposal; then four steps of 10 images, and a check
    assert path.cost[:4].tolist() == [0, 160, 320, 480]


def test_a_slope_that_is_not_finite_changes_nothing(study, monkeypatch):
    import evolq.methods.layerwise as module

    def poisoned(problem, weights, rows, loss):
        return {layer: torch.full_like(weight, float("nan")) for layer, weight in weights.items()}

    monkeypatch.setattr(module, "weight_gradients", poisoned)
    found = evolq.optimize(study, "evolq/ours", settings="steps=5,top=3,images=10,batch=10,check=2,descent=1")
    assert len(set(found.trajectory.value[1:].tolist())) == 1


def test_settings_of_ours_are_checked(study):
    for settings, words in (("metric=all", "metric 'all'"), ("first=0", "first and share"), ("top=0", "at least 1")):
        with pytest.raises(UserError, match=words):
            evolq.optimize(study, "evolq/ours", settings=settings)


def test_ours_wants_weight_scales(study):
    with pytest.raises(UserError, match="use --scales weights"):
        evolq.optimize(study, "evolq/ours", scales="activations", zero_points=False)
