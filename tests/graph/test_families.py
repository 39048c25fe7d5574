"""Every family of timm: the captured graph computes the very function of the module, and its names are readable."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.engine import Evaluator
from landscape.graph.ir import WEIGHTED
from landscape.images import ImageSet
from landscape.quant.calibrate import keeps_input, quantize_network
from landscape.quant.scheme import preset
from tests.graph.families import FAMILIES, double_logits, graph, graph_logits, images, network, relative_error

WITHOUT_NORMS = ("resnet", "regnet", "mobilenet", "efficientnet", "levit")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_gives_the_float64_logits_of_the_module(family: str) -> None:
    x = images(FAMILIES[family].size)
    expected = double_logits(network(family), x)
    assert relative_error(graph_logits(graph(family), x), expected) < 1e-12
    assert expected.std() > 0 and (expected[0] - expected[1]).abs().max() > 1e-6  # images are told apart


@pytest.mark.parametrize("family", FAMILIES)
def test_with_every_quantizer_at_32_bits_the_engine_gives_the_float64_logits_of_the_module(family: str) -> None:
    size = FAMILIES[family].size
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    half = (0.5, 0.5, 0.5)
    drawn = ImageSet(pixels, torch.zeros(2, dtype=torch.int64), ("a", "b"), half, half, "test", "train", 0)
    scheme = preset("default").with_bits("w32a32")
    quantized = quantize_network(graph(family), scheme, drawn, keeps_input(scheme, half, half))
    logits = Evaluator(quantized, drawn, ()).logits(quantized)
    expected = double_logits(network(family), drawn.normalized(dtype=torch.float64))
    assert relative_error(logits, expected) < 1e-12


@pytest.mark.parametrize("family", [name for name in FAMILIES if name.startswith(WITHOUT_NORMS)])
def test_every_batch_norm_is_folded_into_a_layer(family: str) -> None:
    norms = [name for name, m in network(family).named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert norms
    assert [node.name for node in graph(family) if node.op == "affine"] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_named_as_their_modules(family: str) -> None:
    modules = dict(network(family).named_modules())
    layers = [n for n, m in modules.items() if isinstance(m, nn.Linear | nn.Conv2d)]
    names = [node.name for node in graph(family) if node.op in WEIGHTED]
    assert sorted(names) == sorted(layers)
    assert len(set(graph(family).nodes)) == len(list(graph(family)))


def test_names_of_a_transformer_block_are_stable_and_readable() -> None:
    names = [node.name for node in graph("deit") if node.op != "view" and node.module.startswith("blocks.1")]
    assert names == [
        "blocks.1.norm1",
        "blocks.1.attn.qkv",
        "blocks.1.attn.logits",
        "blocks.1.attn.softmax",
        "blocks.1.attn.output",
        "blocks.1.attn.proj",
        "blocks.1.residual",
        "blocks.1.norm2",
        "blocks.1.mlp.fc1",
        "blocks.1.mlp.act",
        "blocks.1.mlp.fc2",
        "blocks.1.residual_2",
    ]


def test_names_around_the_blocks_are_stable_and_readable() -> None:
    outside = [node.name for node in graph("deit") if node.op != "view" and not node.module.startswith("blocks")]
    expected = ["input", "patch_embed.proj", "cls_token", "expand", "cat", "pos_embed", "add_pos_embed", "norm", "head"]
    assert outside == expected


def test_attention_is_found_where_a_softmax_stands_between_two_products() -> None:
    assert graph("deit").attention() == ["blocks.0.attn", "blocks.1.attn"]
    assert graph("swin").attention() == [f"layers.{i}.blocks.{j}.attn" for i in range(2) for j in range(2)]
    assert graph("levit").attention()[0] == "stages.0.blocks.0.attn" and len(graph("levit").attention()) == 11
    assert graph("resnet18").attention() == []


def test_shifted_windows_are_masked_not_biased() -> None:
    masks = [node.name for node in graph("swin") if node.op == "mask_add"]
    assert masks == ["layers.0.blocks.1.attn.mask_add"]  # the second stage has one window, nothing to mask


def test_capturing_twice_gives_the_same_names() -> None:
    from landscape.graph import capture

    again = capture(network("swin"), (3, 56, 56))
    assert list(again.nodes) == list(graph("swin").nodes)
