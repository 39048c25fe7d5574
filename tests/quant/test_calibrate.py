"""Calibration of a whole network: every part of a scheme does what it says, and memory stays bounded."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.graph import capture
from landscape.quant import calibrate
from landscape.quant.calibrate import float_values, passes_over_images, quantize_network, quantize_weights
from landscape.quant.qparams import CodeRange
from landscape.quant.scheme import PRESETS, Scheme, preset
from tests.quant.networks import drawn, graph, quantized, weight_of

W4A8 = Scheme().with_bits("w4a8")


def values_of(name: str) -> Tensor:
    """All float values of a node on the calibration images."""
    return next(
        value for node, value in float_values(graph(), drawn().normalized(dtype=torch.float64)) if node.name == name
    )


def test_minmax_activations_span_the_range_over_all_images() -> None:
    found = quantized(W4A8).activations["blocks.0.mlp.act"]
    low, high = values_of("blocks.0.mlp.act").aminmax()
    scale = float((high - low) / 255)
    assert float(found.scale) == pytest.approx(scale, rel=1e-7)  # files hold float32 numbers
    assert float(found.zero_point) == min(max(round(-float(low) / scale), 0), 255)


def test_weights_have_one_scale_for_every_output_channel_or_one_for_the_tensor() -> None:
    scheme = replace(W4A8, weight_observer="minmax")
    weight = weight_of("blocks.1.attn.qkv")
    channel = quantized(scheme).weights["blocks.1.attn.qkv"]
    assert torch.allclose(channel.scale, (weight.amax(1) - weight.amin(1)) / 15, rtol=1e-6)
    tensor = quantized(replace(scheme, weight_scales="tensor")).weights["blocks.1.attn.qkv"]
    assert torch.allclose(tensor.scale, ((weight.max() - weight.min()) / 15).expand(48), rtol=1e-6)
    assert len(tensor.zero_point.unique()) == 1


@pytest.mark.parametrize("bits", range(2, 9))
def test_signed_codes_are_unsigned_ones_about_the_middle_zero_point(bits: int) -> None:
    scheme = replace(W4A8.with_bits(f"w{bits}a8"), weight_observer="minmax", weight_codes="signed")
    network, weight = quantized(scheme), weight_of("blocks.0.mlp.fc1")
    found = network.weights["blocks.0.mlp.fc1"]
    assert bool((found.zero_point == 2 ** (bits - 1)).all())
    scale = (weight.abs().amax(1) / (2 ** (bits - 1) - 1)).float().double()
    assert torch.equal(found.scale, scale)
    by_hand = torch.clamp(torch.round(weight / scale[:, None]), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert torch.equal(found.codes(weight) - 2 ** (bits - 1), by_hand)


def test_signed_activations_are_symmetric_but_for_the_softmax() -> None:
    network = quantized(replace(W4A8, activation_codes="signed"))
    for name, found in network.activations.items():
        assert float(found.zero_point) == (0 if name.endswith("softmax") else 128)


@pytest.mark.parametrize("observer", ["minmax", "ema", "percentile", "omse"])
def test_every_observer_gives_scales_no_wider_than_minmax(observer: str) -> None:
    widest = quantized(W4A8).activations
    found = quantized(replace(W4A8, activation_observer=observer)).activations
    for name, quantizer in found.items():
        assert float(quantizer.scale) <= float(widest[name].scale) * (1 + 1e-6)


def test_weight_correction_restores_mean_and_deviation_of_every_channel() -> None:
    operand = quantized(W4A8).operand("blocks.0.attn.proj")
    weight, found = weight_of("blocks.0.attn.proj"), operand.dequantized()
    assert torch.allclose(found.mean(1), weight.mean(1), atol=1e-14)
    assert torch.allclose(found.std(1), weight.std(1), rtol=1e-12)


def test_output_correction_restores_the_mean_output_of_every_layer_on_float_inputs() -> None:
    network = quantized(replace(W4A8.with_bits("w3a8"), bias_correction="output"))
    for name, source in (("blocks.0.mlp.fc1", "blocks.0.norm2"), ("head", "norm")):
        inputs, operand = values_of(source), network.operand(name)
        inputs = inputs[:, 0] if name == "head" else inputs
        bias = graph()[name].bias
        assert operand.bias is not None and bias is not None
        mean = (inputs @ operand.dequantized().T + operand.bias).flatten(0, -2).mean(0)
        expected = (inputs @ weight_of(name).T + bias).flatten(0, -2).mean(0)
        assert torch.allclose(mean, expected, atol=1e-12)


def test_calibration_images_come_in_small_batches_and_as_often_as_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    real = calibrate.float_values

    def spy(graph_: object, images: Tensor) -> object:
        shown.append(len(images))
        return real(graph_, images)  # type: ignore[arg-type]

    monkeypatch.setattr(calibrate, "float_values", spy)
    scheme = replace(W4A8, activation_observer="omse", bias_correction="output")
    told: list[int] = []
    quantize_network(graph(), scheme, drawn(20), False, told.append)
    assert max(shown) == calibrate.BATCH == 8
    assert sum(shown) == passes_over_images(scheme) * 20 == 60
    assert sum(told) == 40  # the passes of the observers


def test_scales_do_not_depend_on_how_float64_sums_were_ordered() -> None:
    for quantizer in quantized(W4A8).activations.values():
        assert float(quantizer.scale) == float(quantizer.scale.float())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_quantizes_the_network_and_comes_close_to_it_at_eight_bits(name: str) -> None:
    network = quantized(preset(name).with_bits("w8a8"))
    images = drawn(6, seed=1)
    logits = Evaluator(network, images, ()).logits(network)
    *_, (_, expected) = float_values(graph(), images.normalized(dtype=torch.float64))
    assert float((logits - expected).norm() / expected.norm()) < (0.5 if name == "fq-vit" else 0.1)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_log2_softmax_has_codes_but_no_scale(bits: int) -> None:
    network = quantized(replace(W4A8.with_bits(f"w4a8s{bits}"), softmax="log2"))
    assert "blocks.0.attn.softmax" not in network.activations
    assert "blocks.0.attn.softmax.output" not in network.scale_names()
    codes = Evaluator(network, drawn(), ()).codes(network, ["blocks.0.attn.softmax"], 4)["blocks.0.attn.softmax"]
    powers = torch.log2(codes[codes > 0].double())
    assert torch.equal(powers, powers.round())  # integers in units of the smallest power of two
    assert len(powers.unique()) <= CodeRange(bits).qmax + 1


def test_values_that_are_not_finite_are_named_with_their_layer() -> None:
    broken = drawn()
    broken = replace(broken, std=(math.nan,))
    with pytest.raises(UserError, match=r"cannot calibrate input: .*NaN"):
        quantize_network(graph(), W4A8, broken, False)


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="no calibration images"):
        quantize_network(graph(), W4A8, drawn(0), False)


@pytest.mark.parametrize("observer", ["minmax", "omse", "omse-shared"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_of_one_sign_are_not_clipped(observer: str, sign: float) -> None:
    network = capture(OneSigned(sign).eval(), (1, 8, 8))
    found = quantize_weights(network, replace(W4A8.with_bits("w8a8"), weight_observer=observer))["conv"]
    weight = network["conv"].weight
    assert weight is not None
    values = (found.codes(weight) - found.zero_point.reshape(-1, 1, 1, 1)) * found.scale.reshape(-1, 1, 1, 1)
    assert float((values - weight).abs().max()) <= 0.55 * float(found.scale.max())


def test_gates_are_not_clipped() -> None:
    network = capture(OneSigned(1.0).eval(), (1, 8, 8))
    found = quantize_network(network, W4A8, drawn(), False).activations["gate"]
    values = float_values(network, drawn().normalized(dtype=torch.float64))
    highest = max(float(value.max()) for node, value in values if node.name == "gate")
    assert (255 - float(found.zero_point)) * float(found.scale) == pytest.approx(highest, rel=1e-6)


class OneSigned(nn.Module):
    """A convolution whose weights lie between 0.5 and 1, or the negatives, and a sigmoid far above zero."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Linear(4, 5)
        with torch.no_grad():
            self.conv.weight.copy_(sign * torch.linspace(0.5, 1.0, 36).reshape(4, 1, 3, 3))
            self.conv.bias.fill_(4.0 if sign > 0 else 16.0)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gate(self.conv(x) / 4).mean((2, 3)))
