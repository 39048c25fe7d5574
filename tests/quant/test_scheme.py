"""Schemes: presets, the short form of bit widths, and what cannot be combined."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landscape.errors import UserError
from landscape.graph import capture
from landscape.quant.calibrate import keeps_input, quantize_network
from landscape.quant.scheme import CHOICES, PRESETS, Scheme, preset
from landscape.setup import ProblemOptions
from tests.quant.networks import drawn


def test_the_released_presets_are_what_the_method_says() -> None:
    shared: dict[str, str | int] = {
        "residual": "ptf",
        "weight_codes": "unsigned",
        "weight_scales": "channel",
        "activation_codes": "unsigned",
    }
    fq_vit = {**shared, "weight_observer": "minmax", "activation_observer": "minmax", "layer_norm": "integer"}
    fq_vit |= {"softmax": "log2", "softmax_bits": 4, "bias_correction": "none"}
    plus = {**shared, "weight_observer": "omse-shared", "activation_observer": "minmax", "layer_norm": "float"}
    plus |= {"softmax": "uniform", "softmax_bits": 8, "bias_correction": "none"}
    script = {**shared, "weight_observer": "minmax", "activation_observer": "omse", "layer_norm": "integer"}
    script |= {"softmax": "uniform", "softmax_bits": 8, "bias_correction": "weight"}
    for name, expected in {"fq-vit": fq_vit, "fq-vit++": plus, "evolq-script": script}.items():
        found = asdict(preset(name))
        assert {key: found[key] for key in expected} == expected
        assert (found["weight_bits"], found["activation_bits"]) == (4, 8)


@pytest.mark.parametrize(("groups", "correction"), [(1, "weight"), (2, "weight"), (4, "output")])
def test_the_automatic_bias_correction_is_of_the_output_where_convolutions_are_depthwise(
    groups: int, correction: str
) -> None:
    convolutions = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=groups)
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(144, 5)).eval().requires_grad_(False)
    graph = capture(module, (1, 8, 8))
    assert Scheme().for_graph(graph) == replace(Scheme(), bias_correction=correction)
    fixed = replace(Scheme(), bias_correction="none")
    assert fixed.for_graph(graph) is fixed
    exact = quantize_network(graph, Scheme(), drawn(4), exact_input=True)
    assert exact.scheme.bias_correction == correction and bool(exact.biases) == (correction == "output")
    with pytest.raises(ValueError, match="not decided"):
        replace(exact, scheme=Scheme())


@given(st.integers(2, 8), st.integers(2, 8), st.integers(2, 8))
def test_the_short_form_is_read_back(weight: int, activation: int, softmax: int) -> None:
    scheme = Scheme().with_bits(f"w{weight}a{activation}s{softmax}")
    assert (scheme.weight_bits, scheme.activation_bits, scheme.softmax_bits) == (weight, activation, softmax)
    assert Scheme().with_bits(scheme.bits) == scheme


@pytest.mark.parametrize(
    ("name", "text", "softmax"),
    [("default", "w4a6", 6), ("default", "w4a8s4", 4), ("fq-vit", "w3a8", 4), ("fq-vit", "w8a8s8", 8)],
)
def test_without_bits_of_its_own_a_uniform_softmax_follows_the_activations_and_a_log2_one_keeps_its_bits(
    name: str, text: str, softmax: int
) -> None:
    assert preset(name).with_bits(text).softmax_bits == softmax


@pytest.mark.parametrize("text", ["4", "w4", "a8", "w4a8s", "w1a8", "w9a8", "w4a16", "w4a8s1", "w-4a8", "W4 A8"])
def test_bits_that_mean_nothing_or_are_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"w4a8|2 to 8"):
        Scheme().with_bits(text)


@pytest.mark.parametrize("part", CHOICES)
def test_every_part_can_be_chosen_alone_by_an_option_of_its_own(part: str) -> None:
    for value in CHOICES[part]:
        options: dict[str, Any] = {"preset": "fq-vit++", "bits": "w4a8", part: value}
        scheme = ProblemOptions(**options).scheme()
        expected = asdict(preset("fq-vit++").with_bits("w4a8")) | {part: value}
        assert asdict(scheme) == expected


@pytest.mark.parametrize("part", CHOICES)
def test_an_unknown_part_is_refused_with_the_choices(part: str) -> None:
    with pytest.raises(UserError, match=CHOICES[part][0]):
        replace(Scheme(), **{part: "other"})  # type: ignore[arg-type]


def test_what_needs_quantized_activations_is_refused_without_them() -> None:
    with pytest.raises(UserError, match="integer LayerNorm"):
        replace(Scheme(), layer_norm="integer", activation_bits=32)
    with pytest.raises(UserError, match="Log-Int-Softmax"):
        replace(Scheme(), softmax="log2", softmax_bits=32)


@pytest.mark.parametrize("name", PRESETS)
def test_a_scheme_survives_as_plain_data(name: str) -> None:
    assert Scheme.from_dict(preset(name).to_dict()) == preset(name)
    with pytest.raises(UserError, match="colour"):
        Scheme.from_dict({"colour": "blue"})


def test_a_preset_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"fq-vit\+\+"):
        preset("fqvit")


def test_images_are_kept_where_their_8_bit_pixels_lie_on_equal_steps_already() -> None:
    half, imagenet = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
    auto = Scheme()
    assert keeps_input(auto, half, half) and not keeps_input(auto, imagenet, half)
    assert not keeps_input(replace(auto, input="quantized"), half, half)
    assert keeps_input(replace(auto, input="exact"), imagenet, half)
    assert not keeps_input(auto.with_bits("w4a32"), half, half)
