"""The log2 quantizer."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.quant.log2 import log2_dequantize, log2_quantize


def one(x: float) -> torch.Tensor:
    return torch.tensor([x], dtype=torch.float64)


def nearest_exponent(x: float) -> int:
    """round(-log2 x) in exact arithmetic: k such that 2^-(k + 1/2) < x <= 2^-(k - 1/2)."""
    k = -math.frexp(x)[1]
    # x < 2^-(k + 1/2) exactly when x^2 < 2^-(2 k + 1)
    while Fraction(x) ** 2 < Fraction(1, 2) ** (2 * k + 1):
        k += 1
    return k


@given(st.floats(min_value=1e-80, max_value=1.0), st.integers(2, 8))
def test_codes_are_the_exactly_rounded_logarithm(x: float, bits: int) -> None:
    assert log2_quantize(one(x), bits).item() == min(nearest_exponent(x), 2**bits)


def test_the_boundary_between_two_codes_is_exact() -> None:
    below, above = math.nextafter(math.sqrt(0.5), 0.0), math.sqrt(0.5)
    assert Fraction(below) ** 2 < Fraction(1, 2) < Fraction(above) ** 2
    assert log2_quantize(torch.tensor([below, above], dtype=torch.float64), 4).tolist() == [1.0, 0.0]


@given(st.floats(min_value=2.0**-15, max_value=1.0))
def test_values_are_within_half_an_octave(x: float) -> None:
    value = log2_dequantize(log2_quantize(one(x), 4), 4).item()
    assert abs(math.log2(value / x)) <= 0.5 + 1e-12


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_code_is_its_own_quantized_value(bits: int) -> None:
    codes = torch.arange(2**bits + 1, dtype=torch.float64)
    assert torch.equal(log2_quantize(log2_dequantize(codes, bits), bits), codes)


def test_zero_and_what_rounds_beyond_the_codes_become_exact_zero() -> None:
    codes = log2_quantize(torch.tensor([0.0, 2.0**-16, 2.0**-15, 1.0, 3.0]), 4)
    assert codes.tolist() == [16.0, 16.0, 15.0, 0.0, 0.0]
    assert log2_dequantize(codes, 4).tolist() == [0.0, 0.0, 2.0**-15, 1.0, 1.0]


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_larger_values_never_get_smaller_values(x: list[float]) -> None:
    values = log2_dequantize(log2_quantize(torch.tensor(sorted(x), dtype=torch.float64), 4), 4)
    assert bool((values.diff() >= 0).all())


def test_bad_input_is_refused() -> None:
    for bad in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="negative values or NaN"):
            log2_quantize(one(bad), 4)
    with pytest.raises(ValueError, match="expected 2 to 8"):
        log2_quantize(one(0.5), 9)
    with pytest.raises(ValueError, match="expected 2 to 8"):
        log2_dequantize(one(0.0), 1)
