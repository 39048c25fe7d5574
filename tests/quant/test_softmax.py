"""Softmax of integer logits: exact sums, and its distance from the float softmax."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.softmax import MAX_TOKENS, SoftmaxKind, log_int_softmax, softmax_table, uniform_softmax

KINDS: list[SoftmaxKind] = ["uniform", "log2"]
scales = st.floats(1e-3, 0.3)


def logits_of(rows: int, tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-120, 136, (rows, tokens), generator=generator).double()


def i_exp_by_hand(d: int, scale: float) -> int:
    """The released integer exponential at x = -d, in Python integers."""
    coefficients = [0.35815147, 0.96963238 / 0.35815147, 1.0 / 0.35815147]
    b, c = math.floor(coefficients[1] / scale), math.floor(coefficients[2] / scale**2)
    x0, n = math.floor(-0.6931 / scale), 30
    x = max(-d, n * x0)
    q = x // x0
    r = x - x0 * q
    return max((r * (r + b) + c) * (1 << (n - q)), 0)


@given(scales, st.integers(1, 300), st.integers(0, 2**32))
@settings(max_examples=30)
def test_uniform_softmax_is_within_its_bound_of_the_float_softmax(scale: float, tokens: int, seed: int) -> None:
    logits = logits_of(3, tokens, seed)
    expected = torch.softmax(logits * scale, -1)
    difference = (uniform_softmax(logits, softmax_table(scale, "uniform")) - expected).abs()
    # A term is off by at most 2^-41; the sum, at least 1, by at most tokens 2^-41. 1e-14: float64's own softmax.
    assert bool((difference <= (1 + tokens * expected) * 2.0**-41 + 1e-14).all())


@given(scales, st.integers(0, 2**32))
@settings(max_examples=30)
def test_the_integer_exponential_is_the_released_one(scale: float, seed: int) -> None:
    table = softmax_table(scale, "log2")
    generator = torch.Generator().manual_seed(seed)
    for d in [0, 1, 255, *torch.randint(0, 256, (30,), generator=generator).tolist()]:
        assert int(table.terms[min(d, table.terms.numel() - 1)]) == i_exp_by_hand(d, scale)


@given(st.floats(2e-6, 1.67))
def test_terms_of_8_bit_logits_are_never_shortened(scale: float) -> None:
    terms = softmax_table(scale, "log2").terms
    for d in (0, 1, 2, 17, 100, 254, 255):
        assert int(terms[min(d, terms.numel() - 1)]) == i_exp_by_hand(d, scale)


@given(scales, st.sampled_from([4, 8]), st.integers(1, 250), st.integers(0, 2**32))
@settings(max_examples=30)
def test_log_int_codes_are_the_released_ones(scale: float, bits: int, tokens: int, seed: int) -> None:
    logits = logits_of(1, tokens, seed)
    codes, values = log_int_softmax(logits, softmax_table(scale, "log2"), bits)
    largest = int(logits.max())
    terms = [i_exp_by_hand(largest - int(x), scale) for x in logits[0]]
    for term, code, value in zip(terms, codes[0].tolist(), values[0].tolist(), strict=True):
        ratio = round(sum(terms) / term)
        floor = ratio.bit_length() - 1
        expected = floor + (ratio - 2**floor >= Fraction(2) ** (floor - 1))
        assert code == min(expected, 2**bits)
        assert value == (0.0 if expected >= 2**bits else 2.0**-expected)


@given(scales, st.sampled_from([4, 8]), st.integers(0, 2**32))
@settings(max_examples=30)
def test_log_int_softmax_is_within_its_bound_of_the_float_softmax(scale: float, bits: int, seed: int) -> None:
    logits = logits_of(4, 197, seed)
    d = logits.amax(-1, keepdim=True) - logits
    m = math.ceil(0.6931 / scale)
    kept = d < 30 * m
    # In natural logarithms, a term is off from exp(-scale d) by at most: scale + 5e-5 for each of the q = floor(d / m)
    # halvings, since m scale is between 0.6931 and 0.6931 + scale instead of ln 2; 4e-3 for the polynomial (1.9e-3 of
    # a value of at least 1/2); 0.51 scale for b rounded down (|r| <= m) and 0.75 scale^2 for c, both of at least half
    # of c. Division by the sum adds the largest such error, that of the log-quantizer lies in log 0.625 .. log 1.5.
    term_error = (torch.floor(d / m) * (scale + 5e-5) + 4e-3 + 0.6 * scale + 1.5 * scale**2)[kept].max().item()
    _, values = log_int_softmax(logits, softmax_table(scale, "log2"), bits)
    reference = torch.softmax(logits * scale, -1)
    # Terms beyond 30 m are tiny and may only add to the sum; at most 197 2^-30 of it.
    ratio = torch.log(values / reference)[kept & (values > 0)]
    assert ratio.max().item() <= math.log(1.5) + 2 * term_error + 1e-6
    assert ratio.min().item() >= math.log(0.625) - 2 * term_error - 1e-6


@given(scales, st.integers(0, 2**32))
@settings(max_examples=30)
def test_log_int_values_are_powers_of_two_near_the_integer_probabilities(scale: float, seed: int) -> None:
    logits = logits_of(4, 100, seed)
    table = softmax_table(scale, "log2")
    codes, values = log_int_softmax(logits, table, 8)
    terms = table.terms[(logits.amax(-1, keepdim=True) - logits).clamp(max=table.terms.numel() - 1).long()]
    probabilities = terms / terms.sum(-1, keepdim=True)
    assert bool((values >= 0.625 * probabilities * (1 - 1e-12)).all())
    assert bool((values <= 1.5 * probabilities * (1 + 1e-12)).all())
    assert codes.max() <= 31 + math.log2(100)


@pytest.mark.parametrize("kind", KINDS)
@given(scale=st.floats(2e-7, 1.5), tokens=st.integers(2, 600), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_permuting_the_tokens_permutes_the_result_bit_for_bit(
    kind: SoftmaxKind, scale: float, tokens: int, seed: int
) -> None:
    logits = logits_of(2, tokens, seed)
    order = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))
    table = softmax_table(scale, kind)
    if kind == "uniform":
        assert torch.equal(uniform_softmax(logits[:, order], table), uniform_softmax(logits, table)[:, order])
    else:
        assert torch.equal(
            log_int_softmax(logits[:, order], table, 8)[0], log_int_softmax(logits, table, 8)[0][:, order]
        )


@pytest.mark.parametrize("kind", KINDS)
@given(scale=st.floats(2e-7, 1.6))
@settings(max_examples=50)
def test_the_longest_row_has_an_exact_sum_at_every_scale(kind: SoftmaxKind, scale: float) -> None:
    terms = softmax_table(scale, kind).terms
    # With all terms multiples of one power of two, sums below 2^53 of it are exact whatever the order.
    unit = min(
        Fraction(1, Fraction(t).denominator) * (Fraction(t).numerator & -Fraction(t).numerator)
        for t in {float(t) for t in terms[torch.linspace(0, terms.numel() - 1, 500).long()]}
        if t
    )
    assert Fraction(float(terms.max())) * MAX_TOKENS / unit <= 2**53


@pytest.mark.parametrize("kind", KINDS)
def test_equal_logits_get_equal_shares(kind: SoftmaxKind) -> None:
    logits, table = torch.full((1, 16), 7.0, dtype=torch.float64), softmax_table(0.05, kind)
    values = uniform_softmax(logits, table) if kind == "uniform" else log_int_softmax(logits, table, 4)[1]
    assert torch.equal(values, torch.full_like(logits, 1 / 16))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.05])
def test_masked_tokens_get_nothing_at_any_scale(scale: float) -> None:
    logits = torch.tensor([[3.0, 3.0, 3.0 - 100 / scale, float("-inf")]], dtype=torch.float64).round()
    assert uniform_softmax(logits, softmax_table(scale, "uniform")).tolist() == [[0.5, 0.5, 0.0, 0.0]]
    assert log_int_softmax(logits, softmax_table(scale, "log2"), 4)[1].tolist() == [[0.5, 0.5, 0.0, 0.0]]


def test_scales_and_tables_that_cannot_be_used_are_refused() -> None:
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive finite"):
            softmax_table(bad, "uniform")
    for bad in (1.7, 1e-9):
        with pytest.raises(ValueError, match="use more bits for the logits"):
            softmax_table(bad, "log2")
    logits = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected 'uniform'"):
        uniform_softmax(logits, softmax_table(0.1, "log2"))
    with pytest.raises(ValueError, match="at most 8192"):
        uniform_softmax(torch.zeros(1, MAX_TOKENS + 1, dtype=torch.float64), softmax_table(0.1, "uniform"))
    with pytest.raises(ValueError, match="expected 2 to 8"):
        log_int_softmax(logits, softmax_table(0.1, "log2"), 1)
