"""Where quantizers stand, against the list in the released code (METHOD.md), written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.graph import Graph, capture
from landscape.quant.placement import place_quantizers
from landscape.quant.scheme import Scheme, preset
from tests.graph.families import graph

A, L, S = ("uniform", 8), ("ptf", 8), ("uniform", 8)
"""Per tensor; power-of-two factors per channel; the softmax's own."""

DEIT_BEGINNING = [
    ("input", A),
    ("patch_embed.proj", A),
    ("cat", A),
    ("pos_embed", A),
    ("add_pos_embed", L),
]


def deit_block(number: int, softmax: tuple[str, int] = S) -> list[tuple[str, tuple[str, int]]]:
    """One block, as METHOD.md lists it."""
    block = f"blocks.{number}"
    return [
        (f"{block}.norm1", A),
        (f"{block}.attn.qkv", A),
        (f"{block}.attn.logits", A),
        (f"{block}.attn.softmax", softmax),
        (f"{block}.attn.output", A),
        (f"{block}.attn.proj", A),
        (f"{block}.residual", L),
        (f"{block}.norm2", A),
        (f"{block}.mlp.act", A),  # GELU(fc1); nothing between fc1 and GELU
        (f"{block}.mlp.fc2", A),
        (f"{block}.residual_2", L),
    ]


DEIT_END = [("norm", A), ("head", A)]


def placed(network: Graph, scheme: Scheme, exact_input: bool = False) -> list[tuple[str, tuple[str, int]]]:
    return [(name, (p.kind, p.bits)) for name, p in place_quantizers(network, scheme, exact_input).items()]


def kinds(network: Graph, scheme: Scheme, part: str) -> dict[str, str]:
    found = place_quantizers(network, scheme, False)
    return {name: place.kind for name, place in found.items() if name.startswith(part)}


def test_a_deit_is_quantized_where_the_released_code_quantizes_it_in_that_order() -> None:
    expected = [*DEIT_BEGINNING, *deit_block(0), *deit_block(1), *DEIT_END]
    assert placed(graph("deit"), preset("fq-vit++").with_bits("w4a8")) == expected


def test_log_int_softmax_changes_the_softmax_alone() -> None:
    expected = [*DEIT_BEGINNING, *deit_block(0, ("log2", 4)), *deit_block(1, ("log2", 4)), *DEIT_END]
    assert placed(graph("deit"), preset("fq-vit").with_bits("w4a8")) == expected


def test_an_image_that_is_kept_has_no_quantizer() -> None:
    assert placed(graph("deit"), preset("default"), exact_input=True)[0] == ("patch_embed.proj", A)


def test_without_factors_the_residual_stream_is_quantized_as_all_else() -> None:
    scheme = replace(preset("default"), residual="tensor")
    assert {kind for _, (kind, _) in placed(graph("deit"), scheme)} == {"uniform"}


def test_softmax_bits_are_the_softmaxs_alone() -> None:
    found = dict(placed(graph("deit"), preset("default").with_bits("w4a8s5")))
    assert {name for name, (_, bits) in found.items() if bits == 5} == {f"blocks.{i}.attn.softmax" for i in range(2)}


def test_float_activations_have_no_quantizers() -> None:
    assert placed(graph("deit"), preset("default").with_bits("w4a32")) == []


def test_a_swin_block_has_quantizers_for_position_biases_and_their_sum_but_none_for_the_mask() -> None:
    found = kinds(graph("swin"), preset("default"), "layers.0.blocks.1")
    assert found == {
        "layers.0.blocks.1.norm1": "uniform",
        "layers.0.blocks.1.attn.qkv": "uniform",
        "layers.0.blocks.1.attn.logits": "uniform",
        "layers.0.blocks.1.attn.relative_position_bias_table": "uniform",
        "layers.0.blocks.1.attn.add_relative_position_bias_table": "uniform",
        "layers.0.blocks.1.attn.softmax": "uniform",
        "layers.0.blocks.1.attn.output": "uniform",
        "layers.0.blocks.1.attn.proj": "uniform",
        "layers.0.blocks.1.residual": "ptf",
        "layers.0.blocks.1.norm2": "uniform",
        "layers.0.blocks.1.mlp.act": "uniform",
        "layers.0.blocks.1.mlp.fc2": "uniform",
        "layers.0.blocks.1.residual_2": "ptf",
    }


def test_a_residual_block_is_quantized_behind_each_activation_function_and_at_both_ends_of_the_sum() -> None:
    found = kinds(graph("resnet18"), preset("default"), "layer2.0")
    assert list(found) == [
        "layer2.0.act1",  # convolution, batch norm and ReLU are one
        "layer2.0.conv2",
        "layer2.0.downsample.0",
        "layer2.0.act2",
    ]
    assert set(found.values()) == {"uniform"}


def test_pooling_and_concatenation_have_quantizers_and_maximum_pooling_has_none() -> None:
    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.max_pool2d(self.conv(x), 2)
            return self.head(torch.cat([x.mean((2, 3)), functional.avg_pool2d(x, 3).flatten(1)], 1))

    network = capture(Pools().eval(), (3, 8, 8))
    assert list(place_quantizers(network, preset("default"), False)) == [
        "input",
        "conv",
        "mean",
        "avg_pool2d",
        "cat",
        "head",
    ]


@pytest.mark.parametrize("family", ["deit", "swin"])
def test_factors_belong_to_the_channels_that_the_layer_norm_normalises(family: str) -> None:
    network = graph(family)
    for name, place in place_quantizers(network, preset("default"), False).items():
        if place.kind == "ptf":
            assert place.channel_axis == (1 if network[name].op == "conv2d" else -1)
            norm = next(n for n in network if n.op == "layer_norm" and _reads(network, n.inputs[0], name))
            assert norm.weight is not None and norm.weight.numel() % network[name].shape[place.channel_axis] == 0


def _reads(network: Graph, name: str, source: str) -> bool:
    while name != source and network[name].op == "view":
        name = network[name].inputs[0]
    return name == source


def test_channels_in_front_of_the_pixels_are_found_behind_a_permutation() -> None:
    class Permuted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    place = place_quantizers(capture(Permuted().eval(), (3, 8, 8)), preset("default"), False)["conv"]
    assert (place.kind, place.channel_axis) == ("ptf", 1)


def test_a_norm_over_pixels_and_channels_together_has_no_channels_and_gets_no_factors() -> None:
    class Grouped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(x)).mean((2, 3)))

    assert place_quantizers(capture(Grouped().eval(), (3, 8, 8)), preset("default"), False)["conv"].kind == "uniform"
