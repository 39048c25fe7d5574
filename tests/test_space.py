"""Scale space: coordinates, directions, and the choice of scales by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import UserError
from landscape.graph import capture
from landscape.models import load_model
from landscape.quant.network import scale_names
from landscape.quant.placement import place_quantizers
from landscape.quant.scheme import Scheme
from landscape.space import DIRECTIONS, ScaleSpace, _examples, default_selection, draw_directions, select_names

SPACE = ScaleSpace(("a.weight", "b.output", "c.weight"), (3, 1, 4), torch.arange(1.0, 9.0, dtype=torch.float64))


@pytest.fixture(scope="module")
def transformer() -> tuple:
    graph = capture(load_model("digits_vit").module, (1, 8, 8))
    return graph, scale_names(graph, Scheme(), place_quantizers(graph, Scheme(), False))


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=2))
def test_a_point_is_the_centre_times_the_exponential_of_the_coordinates(coordinates: list[float]) -> None:
    directions = draw_directions(SPACE, "gaussian", len(coordinates), 0)
    point = SPACE.at(coordinates, directions)
    exponent = sum(c * d.numpy() for c, d in zip(coordinates, directions, strict=True))
    np.testing.assert_allclose(point.numpy(), SPACE.centre.numpy() * np.exp(exponent), rtol=1e-14)
    assert bool((point > 0).all())


def test_the_centre_has_coordinates_zero_exactly() -> None:
    assert torch.equal(SPACE.at([0.0, 0.0], draw_directions(SPACE, "gaussian", 2, 0)), SPACE.centre)


def test_scales_come_back_by_name_in_their_shapes() -> None:
    scales = SPACE.scales(SPACE.centre)
    assert {name: tuple(value.shape) for name, value in scales.items()} == {
        "a.weight": (3,),
        "b.output": (),
        "c.weight": (4,),
    }
    assert torch.equal(torch.cat([value.reshape(-1) for value in scales.values()]), SPACE.centre)
    with pytest.raises(ValueError, match="expected \\(8,\\)"):
        SPACE.scales(torch.ones(7, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["gaussian", "sign"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seed", [0, 3])
def test_directions_have_unit_root_mean_square(kind: str, count: int, seed: int) -> None:
    directions = draw_directions(SPACE, kind, count, seed)
    assert directions.shape == (count, 8)
    np.testing.assert_allclose(directions.square().mean(1).sqrt().numpy(), 1.0, rtol=1e-12)


def test_gaussian_directions_are_orthogonal_and_the_first_does_not_depend_on_the_second() -> None:
    two = draw_directions(SPACE, "gaussian", 2, 5)
    assert abs(float(two[0] @ two[1])) < 1e-12
    assert torch.equal(draw_directions(SPACE, "gaussian", 1, 5)[0], two[0])


def test_channel_directions_move_one_scale_each() -> None:
    directions = draw_directions(SPACE, "channels", 2, 0)
    assert (directions != 0).sum(1).tolist() == [1, 1] and directions.sum(1).tolist() == [1.0, 1.0]
    assert int(directions[0].argmax()) != int(directions[1].argmax())
    chosen = draw_directions(SPACE, "channels", 2, 0, channels=[6, 2])
    assert chosen.argmax(1).tolist() == [6, 2]
    with pytest.raises(UserError, match="different channels from 0 to 7"):
        draw_directions(SPACE, "channels", 2, 0, channels=[1, 1])


def test_directions_are_those_of_their_seed() -> None:
    for kind in DIRECTIONS:
        assert torch.equal(draw_directions(SPACE, kind, 2, 1), draw_directions(SPACE, kind, 2, 1))
        assert not torch.equal(draw_directions(SPACE, kind, 2, 1), draw_directions(SPACE, kind, 2, 2))


def test_one_scale_allows_one_direction() -> None:
    single = ScaleSpace(("a.output",), (1,), torch.ones(1, dtype=torch.float64))
    assert draw_directions(single, "gaussian", 1, 0).abs().tolist() == [[1.0]]
    with pytest.raises(UserError, match="2 directions need 2 scales"):
        draw_directions(single, "gaussian", 2, 0)


def test_every_scale_has_a_readable_name() -> None:
    names = ["a.weight[0]", "a.weight[1]", "a.weight[2]", "b.output", "c.weight[0]"]
    assert [SPACE.channel_name(i) for i in range(5)] == names
    with pytest.raises(IndexError):
        SPACE.channel_name(8)


def test_a_block_means_its_attention_qkv_and_proj_weights(transformer) -> None:
    graph, names = transformer
    assert select_names(graph, names, block=5) == ("blocks.5.attn.qkv.weight", "blocks.5.attn.proj.weight")


def test_activations_of_a_block_lie_inside_its_attention(transformer) -> None:
    graph, names = transformer
    chosen = select_names(graph, names, block=0, which="activation")
    assert chosen == (
        "blocks.0.attn.qkv.output",
        "blocks.0.attn.logits.output",
        "blocks.0.attn.softmax.output",
        "blocks.0.attn.output.output",
        "blocks.0.attn.proj.output",
    )
    assert set(select_names(graph, names, block=0, which="both")) > set(chosen)


def test_patterns_choose_layers(transformer) -> None:
    graph, names = transformer
    assert select_names(graph, names, layers="blocks.?.mlp.fc1") == tuple(
        f"blocks.{i}.mlp.fc1.weight" for i in range(8)
    )
    assert select_names(graph, names, layers="head, patch_embed.*") == ("patch_embed.proj.weight", "head.weight")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"block": 8}, "this network has attention blocks 0 to 7"),
        ({"layers": "block.0.attn.qkv"}, "blocks.0.attn.qkv"),
        ({}, "either --block N or --layers GLOB"),
        ({"block": 1, "layers": "*"}, "either --block N or --layers GLOB"),
        ({"block": 1, "which": "biases"}, "give one of weight, activation, both"),
    ],
)
def test_what_selects_nothing_is_told_with_a_hint(transformer, choice: dict, message: str) -> None:
    graph, names = transformer
    with pytest.raises(UserError, match=message):
        select_names(graph, names, **choice)


def test_without_a_choice_the_middle_block_or_all_layers_move(transformer) -> None:
    graph, _ = transformer
    assert default_selection(graph) == (4, None)
    assert default_selection(capture(load_model("digits_cnn").module, (1, 8, 8))) == (None, "*")


def test_examples_of_layers_name_each_once() -> None:
    assert _examples(["conv.weight", "head.weight"], "zzz") == "conv, head"
