"""Bias correction of the weights' moments and of the output mean."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.bias_correction import match_moments, output_mean_shift
from landscape.quant.observers import minmax_weight
from landscape.quant.qparams import CodeRange, channel_view, dequantize, quantize


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quantized(weight: Tensor, bits: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and zero point of a weight."""
    found = minmax_weight(weight, CodeRange(bits))
    scale, zero_point = (channel_view(p, weight.ndim, 0) for p in (found.scale, found.zero_point))
    return quantize(weight, scale, zero_point, CodeRange(bits)), found.scale, found.zero_point


@given(st.integers(1, 6), st.integers(2, 60), st.integers(2, 8), st.integers(0, 2**32))
@settings(max_examples=40)
def test_corrected_weights_have_the_mean_and_deviation_of_the_float_weight(
    outputs: int, inputs: int, bits: int, seed: int
) -> None:
    weight = normal(outputs, inputs, seed=seed)
    codes, scale, _ = quantized(weight, bits)
    a, d = match_moments(weight, codes, scale)
    corrected = a[:, None] * codes + d[:, None]
    torch.testing.assert_close(corrected.mean(1), weight.mean(1), rtol=1e-9, atol=1e-12)
    spread = codes.amax(1) > codes.amin(1)
    torch.testing.assert_close(corrected.std(1)[spread], weight.std(1)[spread], rtol=1e-9, atol=1e-12)


def test_it_is_the_released_formula_on_dequantized_weights() -> None:
    weight = normal(5, 3, 4, 4)
    codes, scale, zero_point = quantized(weight)
    a, d = match_moments(weight, codes, scale)
    plain = dequantize(codes, channel_view(scale, 4, 0), channel_view(zero_point, 4, 0)).reshape(5, -1)
    rows = weight.reshape(5, -1)
    mean, spread = plain.mean(1, keepdim=True), rows.std(1) / plain.std(1)
    released = (plain - mean) * spread[:, None] + rows.mean(1, keepdim=True)
    torch.testing.assert_close(a[:, None] * codes.reshape(5, -1) + d[:, None], released, rtol=1e-12, atol=1e-12)


def test_given_the_codes_the_scale_does_not_matter_and_the_zero_point_moves_the_offset_only() -> None:
    weight = normal(4, 50)
    codes, scale, zero_point = quantized(weight)
    a, d = match_moments(weight, codes, scale)
    other_a, other_d = match_moments(weight, codes, scale * 1.7)
    assert torch.equal(a, other_a)
    assert torch.equal(d, other_d)
    centred_a, centred_d = match_moments(weight, codes - zero_point[:, None], scale)
    assert torch.equal(a, centred_a)
    torch.testing.assert_close(centred_d, d + a * zero_point, rtol=1e-12, atol=1e-14)


@given(st.integers(2, 3000), st.integers(0, 2**32))
@settings(max_examples=25)
def test_permuting_the_inputs_changes_no_bit(inputs: int, seed: int) -> None:
    weight = normal(3, inputs, seed=seed).float()
    codes, scale, _ = quantized(weight)
    order = torch.randperm(inputs, generator=torch.Generator().manual_seed(seed))
    a, d = match_moments(weight, codes, scale)
    other_a, other_d = match_moments(weight[:, order], codes[:, order], scale)
    assert torch.equal(a, other_a)
    assert torch.equal(d, other_d)


def test_a_channel_of_equal_codes_keeps_its_scale_and_gets_the_right_mean() -> None:
    weight = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    codes = torch.tensor([[5.0, 5.0, 5.0], [0.0, 7.0, 15.0]], dtype=torch.float64)
    scale = torch.tensor([0.25, 0.5], dtype=torch.float64)
    a, d = match_moments(weight, codes, scale)
    assert a[0] == 0.25
    assert (a * codes[:, 0] + d)[0].item() == pytest.approx(0.2, abs=1e-14)
    assert bool(torch.isfinite(a).all() & torch.isfinite(d).all())


def test_one_value_per_channel_is_restored() -> None:
    weight = normal(6, 1, 1, 1)
    codes, scale, _ = quantized(weight)
    a, d = match_moments(weight, codes, scale)
    torch.testing.assert_close(a * codes.reshape(-1) + d, weight.reshape(-1), rtol=1e-13, atol=1e-13)


def test_output_mean_of_a_linear_layer_is_restored() -> None:
    weight, x = normal(4, 7), normal(100, 7, seed=1) + 2.0
    rough = weight + 0.1 * normal(4, 7, seed=2)
    shift = output_mean_shift(weight, rough, x.mean(0))
    torch.testing.assert_close((x @ rough.T + shift).mean(0), (x @ weight.T).mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_output_mean_of_a_convolution_is_restored_where_inputs_are_constant_over_the_image(groups: int) -> None:
    weight = normal(6, 6 // groups, 3, 3)
    rough = weight + 0.1 * normal(*weight.shape, seed=2)
    x = normal(10, 6, 1, 1, seed=1).expand(10, 6, 5, 5)
    shift = output_mean_shift(weight, rough, x.mean((0, 2, 3)))
    exact = torch.nn.functional.conv2d(x, weight, groups=groups).mean((0, 2, 3))
    corrected = torch.nn.functional.conv2d(x, rough, shift, groups=groups).mean((0, 2, 3))
    torch.testing.assert_close(corrected, exact, rtol=1e-12, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        match_moments(normal(2, 3), normal(2, 4), torch.ones(2))
    with pytest.raises(ValueError, match="expected one"):
        output_mean_shift(normal(2, 3), normal(2, 4), normal(3))
    for inputs in (2, 4, 9):
        with pytest.raises(ValueError, match="one mean for each input channel"):
            output_mean_shift(normal(2, 3), normal(2, 3), normal(inputs))
