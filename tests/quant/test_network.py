"""Parameters of a quantized network by name: set, saved, loaded, checked; and the table of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import from_parameters, load_quantized, read_about, save_quantized, to_parameters
from landscape.quant.scheme import PRESETS, Scheme, preset
from landscape.quant.summary import QuantizerSummary, summarize, summarize_parameters
from tests.quant.networks import drawn, graph, quantized

QKV, ACT = "blocks.1.attn.qkv.weight", "blocks.1.mlp.act.output"


@pytest.fixture(scope="module")
def network() -> QuantizedNetwork:
    return quantized(Scheme().with_bits("w4a8"))


def logits(network: QuantizedNetwork) -> Tensor:
    return Evaluator(network, drawn(4, seed=1), ()).logits(network)


def by_hand(path: Path, tensors: Mapping[str, Tensor], chosen: Scheme, **metadata: str) -> Path:
    save_file(dict(tensors), path, {"scheme": json.dumps(chosen.to_dict()), "exact_input": "false", **metadata})
    return path


def test_every_scale_and_zero_point_can_be_set_by_name(network: QuantizedNetwork) -> None:
    new = network.with_parameters(
        scales={QKV: np.full(48, 0.03), ACT: 0.02}, zero_points={QKV: torch.full((48,), 7), ACT: 11}
    )
    assert bool((new.weights["blocks.1.attn.qkv"].scale == 0.03).all())
    assert bool((new.weights["blocks.1.attn.qkv"].zero_point == 7).all())
    assert (float(new.activations["blocks.1.mlp.act"].scale), float(new.scale(ACT))) == (0.02, 0.02)
    assert float(new.activations["blocks.1.mlp.act"].zero_point) == 11
    assert new.weights["head"] is network.weights["head"]
    assert not bool((network.weights["blocks.1.attn.qkv"].scale == 0.03).any())  # the old network is as it was


def test_setting_all_parameters_of_another_network_makes_its_logits(network: QuantizedNetwork) -> None:
    moved = network.with_scales({name: network.scale(name) * 1.1 for name in network.scale_names()})
    assert not torch.equal(logits(moved), logits(network))
    again = moved.with_parameters(scales={name: network.scale(name) for name in network.scale_names()})
    assert torch.equal(logits(again), logits(network))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scales": {"blocks.9.attn.qkv.weight": 1.0}}, "no scale named.*blocks.1.attn.qkv.weight"),
        ({"scales": {"head": 1.0}}, "no scale named"),
        ({"scales": {QKV: 1.0}}, r"shape \(\); expected \(48,\)"),
        ({"scales": {ACT: -1.0}}, "not positive and finite"),
        ({"scales": {ACT: float("inf")}}, "not positive and finite"),
        ({"zero_points": {ACT: 1.5}}, "not integers from 0 to 255"),
        ({"zero_points": {QKV: torch.full((48,), 16)}}, "not integers from 0 to 15"),
    ],
)
def test_parameters_out_of_bounds_are_refused(network: QuantizedNetwork, values: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        network.with_parameters(**values)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("correction", ["none", "weight", "output"])
def test_a_saved_network_is_loaded_bit_for_bit(name: str, correction: str, tmp_path: Path) -> None:
    network = quantized(replace(preset(name).with_bits("w3a8"), bias_correction=correction))
    save_quantized(tmp_path / "file", network, {"preset": name})
    again = load_quantized(tmp_path / "file", graph())
    assert again.scheme == network.scheme and read_about(tmp_path / "file") == {"preset": name}
    before, after = to_parameters(network), to_parameters(again)
    assert list(before) == list(after) and all(torch.equal(before[key].double(), after[key].double()) for key in before)
    assert torch.equal(logits(again), logits(network))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]  # and nothing half-written


def test_a_file_written_by_hand_with_those_names_works(network: QuantizedNetwork, tmp_path: Path) -> None:
    tensors = {name: value.float() for name, value in to_parameters(network).items()}
    found = load_quantized(by_hand(tmp_path / "hand", tensors, network.scheme), graph())
    assert torch.equal(logits(found), logits(network))


def broken(change: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters with one fault."""
    faults: dict[str, dict[str, Tensor]] = {
        "negative": {f"{QKV}.scale": -tensors[f"{QKV}.scale"]},
        "not finite": {f"{ACT}.scale": torch.tensor(float("nan"))},
        "shape": {f"{QKV}.scale": torch.ones(3)},
        "fraction": {f"{ACT}.zero_point": torch.tensor(0.5)},
        "range": {f"{QKV}.zero_point": torch.full((48,), 16.0)},
        "factor": {"blocks.0.residual.output.exponents": torch.full((16,), 4)},
        "unknown": {"blocks.7.attn.qkv.weight.scale": torch.ones(48)},
    }
    tensors = {**tensors, **faults.get(change, {})}
    if change == "missing":
        del tensors[f"{ACT}.scale"]
    return tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("negative", rf"{QKV}.scale holds values that are not positive"),
        ("not finite", rf"{ACT}.scale holds values that are not finite"),
        ("shape", r"shape \(3,\); expected \(48,\)"),
        ("fraction", "not integers from 0 to 255"),
        ("range", "not integers from 0 to 15"),
        ("factor", "exponents holds values that are not integers from 0 to 3"),
        ("unknown", "unknown quantization parameter blocks.7"),
        ("missing", rf"{ACT}.scale is missing; expected shape \(\)"),
    ],
)
def test_a_file_written_by_hand_is_checked(change: str, words: str, network: QuantizedNetwork, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "hand", broken(change, to_parameters(network)), network.scheme)
    with pytest.raises(UserError, match=words) as error:
        load_quantized(path, graph())
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_metadata_that_is_missing_or_makes_no_sense_is_refused(network: QuantizedNetwork, tmp_path: Path) -> None:
    tensors, scheme = to_parameters(network), network.scheme
    save_file(tensors, tmp_path / "none")
    for path, words in (
        (tmp_path / "none", "'scheme' and 'exact_input'"),
        (by_hand(tmp_path / "a", tensors, scheme, exact_input="1"), "true or false"),
        (by_hand(tmp_path / "b", tensors, scheme, scheme='{"weight_bits": 40}'), "weight bits 40"),
        (by_hand(tmp_path / "c", tensors, scheme, scheme='{"colour": 1}'), "colour"),
        (by_hand(tmp_path / "d", tensors, scheme, scheme="["), "scheme"),
        (by_hand(tmp_path / "e", tensors, scheme, format="something else"), "something else"),
        (tmp_path / "nowhere", "cannot read"),
    ):
        with pytest.raises(UserError, match=words):
            load_quantized(path, graph())


def test_a_file_for_other_weights_is_refused_and_one_that_does_not_say_is_taken(
    network: QuantizedNetwork, tmp_path: Path
) -> None:
    save_quantized(tmp_path / "file", network, {"weights_sha256": "a" * 64})
    load_quantized(tmp_path / "file", graph(), "a" * 64)
    with pytest.raises(UserError, match=r"made for weights with hash aaaaaaaaaaaa, .* has bbbbbbbbbbbb"):
        load_quantized(tmp_path / "file", graph(), "b" * 64)
    load_quantized(by_hand(tmp_path / "hand", to_parameters(network), network.scheme), graph(), "b" * 64)


def test_a_file_that_cannot_be_written_is_a_users_error_and_leaves_nothing(
    network: QuantizedNetwork, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="cannot write"):
        save_quantized(tmp_path / "no folder" / "file", network, {})
    assert list(tmp_path.iterdir()) == []


def test_float_activations_have_no_exact_input_to_speak_of() -> None:
    network = quantized(Scheme().with_bits("w4a32"))
    assert from_parameters(graph(), network.scheme, True, to_parameters(network)).exact_input is False


def test_the_table_has_a_row_for_every_scale_in_order(network: QuantizedNetwork) -> None:
    summary = summarize(network)
    assert [row.name for row in summary.quantizers] == network.scale_names()
    assert summary.bits == "w4a8" and summary.float_parts == tuple(network.float_parts())
    assert json.loads(json.dumps(summary.to_dict()))["quantizers"][0]["name"] == "input.output"


def test_the_rows_hold_what_the_network_holds() -> None:
    network = quantized(preset("evolq-script").with_bits("w3a8s6"))
    rows = {row.name: row for row in summarize(network).quantizers}
    scale, zero_point = network.weights["head"].scale, network.weights["head"].zero_point
    median = float(np.median(scale.numpy()))
    ends = int(zero_point.min()), int(zero_point.max())
    expected = QuantizerSummary(
        "head.weight", "weight", 3, "minmax", 5, float(scale.min()), median, float(scale.max()), *ends
    )
    assert rows["head.weight"] == expected
    softmax = rows["blocks.0.attn.softmax.output"]
    assert (softmax.role, softmax.bits, softmax.observer, softmax.channels) == ("softmax", 6, "omse", 1)
    found = network.activations["blocks.0.residual"]
    assert found.exponents is not None
    residual, channel_scales = rows["blocks.0.residual.output"], found.scale * 2.0 ** found.exponents.double()
    assert (residual.role, residual.observer, residual.channels) == ("residual", "ptf", 16)
    assert (residual.scale_min, residual.scale_max) == (float(channel_scales.min()), float(channel_scales.max()))


def test_a_log2_softmax_stands_in_the_table_without_a_scale() -> None:
    rows = {row.name: row for row in summarize(quantized(preset("fq-vit"))).quantizers}
    row = rows["blocks.0.attn.softmax.output"]
    assert (row.role, row.bits, row.observer, row.scale_median, row.zero_point_min) == (
        "softmax",
        4,
        "log2",
        None,
        None,
    )


def test_parameters_alone_make_the_same_rows(network: QuantizedNetwork) -> None:
    arrays = {name: value.numpy() for name, value in to_parameters(network).items()}
    assert tuple(summarize_parameters(arrays, network.scheme.to_dict())) == summarize(network).quantizers


def test_what_stays_float_is_named() -> None:
    text = "\n".join(quantized(preset("fq-vit++"), exact_input=True).float_parts())
    for words in (
        "input images",
        "biases of 10 layers (patch_embed.proj ... head)",
        "blocks.0.norm1: weight, bias and statistics",
        "blocks.1.attn.softmax: exponential and division",
        "cls_token: constant",
        "blocks.0.mlp.act: argument of the activation function gelu",
    ):
        assert words in text
    assert "all weights (32 bits asked for)" in quantized(Scheme().with_bits("w32a8")).float_parts()
