from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from landscape.engine.evaluator import Evaluator
from landscape.engine.native import Native, native_available
from landscape.engine.native.build import EMULATED, ISA_VARIABLE, instruction_sets
from landscape.engine.reference import Reference
from landscape.engine.values import as_float
from landscape.quant.network import QuantizedNetwork
from landscape.setup import load_problem
from tests.engine.networks import (
    assert_same_codes,
    assert_same_codes_together,
    images,
    left_to_reference,
    perturbed,
    quantized,
    values,
    with_powers_of_two,
)

_AVAILABLE, _WHY = native_available()
pytestmark = pytest.mark.skipif(not _AVAILABLE, reason=f"no native engine: {_WHY}")


def assert_same(network: QuantizedNetwork, count: int = 3, native: Native | None = None) -> None:
    """Node by node, and many nodes at once."""
    native = native or Native(network)
    assert_same_codes(network, native, count)
    assert_same_codes_together(network, native, count)


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8", "w4a8s4", "w2a3"])
@pytest.mark.parametrize("correction", ["weight", "none", "output"])
def test_codes_equal_the_reference_at_all_bit_widths(bits: str, correction: str) -> None:
    assert_same(quantized("vit", bits, bias_correction=correction))


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("ties", [False, True])
def test_codes_are_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, ties: bool
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized("vit")
    assert_same(with_powers_of_two(network) if ties else network)


@pytest.mark.parametrize(
    "options",
    [
        {"residual": "tensor"},
        {"layer_norm": "integer"},
        {"softmax": "log2"},
        {"activation_observer": "percentile", "weight_observer": "minmax"},
    ],
)
def test_codes_equal_the_reference_in_other_schemes(options: dict[str, Any]) -> None:
    assert_same(quantized("vit", **options))


_INTEGER = {"layer_norm": "integer", "softmax": "log2", "bias_correction": "none"}


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), EMULATED])
@pytest.mark.parametrize("bits", ["w4a8s4", "w8a8s3", "w3a8s2"])
def test_integer_layer_norm_and_log_int_softmax_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, bits: str
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized("fine_vit", bits, **_INTEGER)
    assert_same(network)
    assert_same(with_powers_of_two(network))
    moved = perturbed(network, network.scale_names(), seed=1, size=0.3)
    assert_same(moved, native=Native(moved, Native(network)))


@pytest.mark.parametrize("factor", [0.02, 8.0])
@pytest.mark.parametrize("end", [0, 255])
def test_integer_layer_norm_and_log_int_softmax_at_extreme_scales_and_zero_points(factor: float, end: int) -> None:
    """Factors of LayerNorm that saturate or shrink to few bits; logits that are all alike or far apart."""
    network = quantized("vit", "w8a8s4", **_INTEGER)
    network = network.with_scales({n: network.scale(n) * factor for n in network.scale_names() if n.endswith("output")})
    activations = {
        k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end)) for k, q in network.activations.items()
    }
    assert_same(network)
    assert_same(dataclasses.replace(network, activations=activations))


@pytest.mark.parametrize("bits", ["w4a8s5", "w4a8s8"])
def test_log_int_softmax_of_more_bits_is_left_to_the_reference(bits: str) -> None:
    assert_same(quantized("vit", bits, **_INTEGER))


def test_the_released_scheme_leaves_nothing_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    network = quantized("vit", "w4a8s4", **_INTEGER)
    assert left_to_reference(network, Native(network), monkeypatch) == set()


@pytest.mark.parametrize("name", ["vit", "mobilenet"])
def test_codes_equal_the_reference_with_exact_input(name: str) -> None:
    assert_same(quantized(name, exact_input=True))


@pytest.mark.parametrize("name", ["normed_vit", "swin", "levit", "convnext", "mobilenetv3"])
def test_codes_equal_the_reference_where_not_all_is_covered(name: str) -> None:
    assert_same(quantized(name))


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["vit", "mobilenet", "resnet"])
def test_batch_and_threads_change_no_code(name: str, count: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_same_codes_together(quantized(name), Native(quantized(name)), count)
    finally:
        torch.set_num_threads(before)


def test_a_sibling_gives_the_codes_of_its_own_scales() -> None:
    network = quantized("vit")
    centre = Native(network)
    assert_same(network, native=centre)
    for names in (["blocks.1.attn.qkv.weight"], ["blocks.0.mlp.act.output", "head.weight"], network.scale_names()):
        moved = perturbed(network, names, seed=0)
        assert_same(moved, native=Native(moved, centre))


@pytest.mark.parametrize("name", ["vit", "mobilenet", "resnet"])
def test_extreme_scales_clamp_like_the_reference(name: str) -> None:
    network = quantized(name)
    for factor in (1e-3, 1e3):
        scaled = {n: network.scale(n) * factor for n in network.scale_names() if n.endswith("output")}
        assert_same(network.with_scales(scaled))


@pytest.mark.parametrize("name", ["vit", "mobilenet", "resnet"])
def test_zero_points_at_both_ends_give_the_reference_codes(name: str) -> None:
    network = quantized(name, "w8a8")
    for end in (0, 255):
        weights = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end)) for k, q in network.weights.items()
        }
        activations = {
            k: dataclasses.replace(q, zero_point=torch.full_like(q.zero_point, end))
            for k, q in network.activations.items()
        }
        assert_same(dataclasses.replace(network, weights=weights, activations=activations))


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
def test_fifty_points_around_the_digits_network_have_the_reference_logits(bits: str) -> None:
    problem = load_problem(bits=bits, images=6, calib_images=50)
    network, nodes = problem.network, list(problem.network.graph)
    centre = Native(network)
    weights = [name for name in network.scale_names() if name.endswith(".weight")]
    for index in range(50):
        names = network.scale_names() if index % 10 == 0 else weights[index % len(weights) :][:2]
        moved = perturbed(network, names, seed=index, size=0.03)
        expected = Evaluator(moved, problem.images, [names[0]], Reference).logits(moved)
        native = Native(moved, centre)
        given = {"input": native.pixels(problem.images, slice(0, 6))}
        actual = native.run_nodes(nodes, given, {network.graph.output}, 6)[network.graph.output]
        assert torch.equal(as_float(actual), expected), index


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), EMULATED])
def test_attention_wider_than_one_register_is_the_same_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str
) -> None:
    """65 and more tokens, heads of 20, outputs that are no multiple of 64."""
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized("fine_vit", "w8a8")
    assert_same_codes_together(network, Native(network), 2)


def test_a_layer_whose_value_is_kept_is_given_in_float64() -> None:
    network = quantized("vit")
    name = next(node.inputs[0] for node in network.graph if node.op == "unary")
    chosen, native = images(3), Native(network)
    expected = dict((node.name, value) for node, value in values(Reference(network), chosen.normalized()))[name]
    given = {"input": native.pixels(chosen, slice(0, 3))}
    actual = native.run_nodes(list(network.graph), given, {name}, 3)[name]
    assert isinstance(actual, torch.Tensor) and torch.equal(actual, as_float(expected))


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w3a8"])
@pytest.mark.parametrize(
    ("model", "data", "moved"),
    [
        (
            "deit_tiny_patch16_224",
            "imagenet-mini",
            [f"blocks.{block}.attn.{part}.weight" for block in (0, 5, 11) for part in ("qkv", "proj")],
        ),
        ("mobilenetv1_075", "imagenet-mini", ["blocks.0.0.conv_dw.weight", "blocks.3.2.conv_pw.weight"]),
        ("resnet20", "cifar10-mini", ["layer1.1.conv2.weight", "layer2.0.conv1.weight", "layer3.0.act1.output"]),
    ],
)
def test_real_networks_have_the_reference_codes_on_real_images(
    shared_data: Path, model: str, data: str, moved: list[str], bits: str
) -> None:
    weights = f"{model}_cifar10" if model.startswith("resnet") else model
    problem = load_problem(
        model=model if model.startswith("deit") else f"{shared_data / 'cnn_models.py'}:{model}",
        weights=str(shared_data / "weights" / f"{weights}.safetensors"),
        data=str(shared_data / data),
        resize="none",
        crop=224 if data == "imagenet-mini" else 32,
        block=None,
        bits=bits,
        images=3,
        calib_images=16,
    )
    network = problem.network
    evaluators = [Evaluator(network, problem.images, moved, arithmetic) for arithmetic in (Reference, Native)]
    for seed in range(3):
        point = perturbed(network, moved, seed, size=0.03)
        expected, actual = (evaluator.logits(point) for evaluator in evaluators)
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_activation_functions_behind_products_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    network = quantized("products", "w8a8")
    for moved in (network, with_powers_of_two(network), perturbed(network, network.scale_names(), seed=1, size=0.3)):
        assert_same(moved)
        if moved is network:
            assert left_to_reference(moved, Native(moved), monkeypatch) <= {"mean"}


@pytest.mark.parametrize("name", ["swin", "convnext", "levit", "mobilenetv3"])
def test_few_nodes_are_left_to_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = quantized(name)
    expected = {"convnext": {"mean"}}.get(name, set[str]())
    assert left_to_reference(network, Native(network), monkeypatch) == expected


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("name", ["swin", "convnext", "levit"])
def test_factors_of_image_channels_with_every_instruction_set(
    monkeypatch: pytest.MonkeyPatch, instruction_set: str, name: str
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, instruction_set)
    for network in (quantized(name), with_powers_of_two(quantized(name))):
        assert_same_codes_together(network, Native(network), 2)
