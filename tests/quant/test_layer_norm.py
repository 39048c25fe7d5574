"""LayerNorm of integer codes, in float and as released in integers."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.layer_norm import integer_layer_norm, layer_norm, rms_norm

seeds = st.integers(0, 2**32)
widths = st.integers(2, 800)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def row_of_codes(channels: int, seed: int, rows: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Codes with power-of-two factors, a weight with both signs and zeros, a bias."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-100, 156, (rows, channels), generator=generator).double()
    factors = 2.0 ** torch.randint(0, 4, (channels,), generator=generator).double()
    weight = torch.randn(channels, generator=generator, dtype=torch.float64)
    weight[0] = 0.0
    return codes * factors, weight, torch.randn(channels, generator=generator, dtype=torch.float64)


@given(widths, st.floats(1e-4, 1.0), seeds)
@settings(max_examples=40)
def test_layer_norm_of_codes_is_layer_norm_of_their_values(channels: int, scale: float, seed: int) -> None:
    c, weight, bias = row_of_codes(channels, seed)
    expected = torch.nn.functional.layer_norm(c * scale, (channels,), weight, bias, 1e-6)
    torch.testing.assert_close(layer_norm(c, scalar(scale), weight, bias, 1e-6), expected, rtol=1e-10, atol=1e-10)


@given(widths, st.floats(1e-4, 1.0), st.sampled_from([0.0, 1e-6, 0.3]), st.floats(1e-9, 5.0), seeds)
@settings(max_examples=40)
def test_rms_norm_of_codes_is_the_rms_norm_of_their_values(
    channels: int, scale: float, eps: float, floor: float, seed: int
) -> None:
    c, weight, _ = row_of_codes(channels, seed)
    c[0] = 0.0
    x = c * scale
    expected = x / (x.square().mean(-1, keepdim=True) + eps).sqrt().clamp_min(floor) * weight
    torch.testing.assert_close(rms_norm(c, scalar(scale), weight, eps, floor), expected, rtol=1e-10, atol=1e-12)


def test_a_row_of_a_norm_of_three_four_and_zero_by_hand() -> None:
    # mean square 25 / 2; 3 / (5 / sqrt 2) = 0.6 sqrt 2; with a floor of 10 it is 0.3
    c, ones = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(rms_norm(c, 2.0, ones, 0.0, 1e-9), torch.tensor([[0.6, 0.8]]).double() * 2.0**0.5)
    torch.testing.assert_close(rms_norm(c, 1.0, ones, 0.0, 10.0), torch.tensor([[0.3, 0.4]]).double())
    with pytest.raises(ValueError, match="one of them to be positive"):
        rms_norm(c, 1.0, ones, 0.0, 0.0)


@pytest.mark.parametrize("kind", ["float", "integer", "rms"])
@given(channels=widths, seed=seeds)
@settings(max_examples=25)
def test_permuting_the_channels_permutes_the_result_bit_for_bit(kind: str, channels: int, seed: int) -> None:
    c, weight, bias = row_of_codes(channels, seed)
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed))

    def normalise(c: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if kind == "float":
            return layer_norm(c, scalar(0.013), weight, bias, 1e-6)
        if kind == "rms":
            return rms_norm(c, scalar(0.013), weight, 1e-6, 1e-6)
        return integer_layer_norm(c, scalar(0.013), weight, bias, scalar(0.02))

    assert torch.equal(normalise(c[:, order], weight[order], bias[order]), normalise(c, weight, bias)[:, order])


@given(widths, st.floats(1e-3, 0.1), st.floats(1e-2, 0.1), seeds)
@settings(max_examples=40)
def test_integer_layer_norm_is_within_its_bound_of_float_layer_norm(
    channels: int, scale: float, output_scale: float, seed: int
) -> None:
    c, weight, bias = row_of_codes(channels, seed)
    mean, std = c.mean(-1, keepdim=True), c.std(-1, correction=0, keepdim=True)
    exact = ((c - mean) / std * weight + bias) / output_scale
    a = (weight / std / output_scale).abs()
    assert a.max() < 256
    # The 8-bit factor falls short of |A| by less than 1/128 of it; B is rounded to 2^-N <= |A| / 128, and y to 1.
    bound = a * c.abs() / 128 + a / 256 + 0.5
    y = integer_layer_norm(c, scalar(scale), weight, bias, scalar(output_scale))
    assert bool(((y - exact).abs() <= bound * (1 + 1e-9) + 2.0**-31).all())


def test_integer_layer_norm_by_hand() -> None:
    # c = (1, 3), s = 0.5: mean 1, std 0.5. A = 0.5 / 0.5 * (1, -2) / 0.1 = (10, -20); N = 7 - (3, 4) = (4, 3),
    # M = (160, 160). B = round((0.25 - 1 / 0.5 * (1, -2)) / 0.1 * (16, 8)) = (-280, 340).
    # y = round((160 - 280) / 16, (-480 + 340) / 8) = round(-7.5, -17.5) = (-8, -18)
    c = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    weight, bias = torch.tensor([1.0, -2.0]), torch.tensor([0.25, 0.25])
    y = integer_layer_norm(c, 0.5, weight, bias, 0.1)
    assert y.tolist() == [[-8.0, -18.0]]


def test_factors_are_truncated_and_exact_at_powers_of_two() -> None:
    # With c = (-1, 1) and s = 1, A = weight / output_scale; the factor is the first 8 bits of A.
    c = torch.tensor([[-1.0, 1.0]], dtype=torch.float64)
    for a in (1.0, 2.0, 0.125, 1.9999, 3.14159, 200.7):
        exponent = Fraction(a).numerator.bit_length() - Fraction(a).denominator.bit_length()
        exponent -= Fraction(2) ** exponent > Fraction(a)
        factor = int(Fraction(a) * 2 ** (7 - exponent)) / Fraction(2) ** (7 - exponent)
        y = integer_layer_norm(c, 1.0, torch.full((2,), a, dtype=torch.float64), torch.zeros(2), 1.0)
        assert y.tolist() == [[-float(round(factor)), float(round(factor))]]


def test_constant_rows_give_the_bias() -> None:
    c = torch.tensor([[5.0, 5.0, 5.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    weight, bias = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.5, -0.25, 3.0])
    assert layer_norm(c, 0.1, weight, bias, 1e-6).tolist() == [bias.tolist()] * 2
    assert integer_layer_norm(c, 0.1, weight, bias, 0.125).tolist() == [[4.0, -2.0, 24.0]] * 2


def test_sums_too_large_to_be_exact_are_refused() -> None:
    weight = torch.ones(4)
    c = torch.tensor([[2.0**25, 0.0, 0.0, 0.0]], dtype=torch.float64)
    # D S2 = 4 * 2^50 = 2^52 is still exact, twice the code is not.
    expected = torch.nn.functional.layer_norm(c, (4,), eps=1e-6)
    torch.testing.assert_close(layer_norm(c, 1.0, weight, torch.zeros(4), 1e-6), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="exact sums need"):
        layer_norm(2 * c, 1.0, weight, torch.zeros(4), 1e-6)
    with pytest.raises(ValueError, match="exact sums need"):
        integer_layer_norm(2 * c, 1.0, weight, torch.zeros(4), 1.0)
    with pytest.raises(ValueError, match="exact sums need"):
        layer_norm(c * float("nan"), 1.0, weight, torch.zeros(4), 1e-6)


def test_eps_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match="eps is 0"):
        layer_norm(torch.ones(1, 2, dtype=torch.float64), 1.0, torch.ones(2), torch.ones(2), 0.0)
