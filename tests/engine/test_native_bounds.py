"""The float32 paths of the native engine stay within the bounds that decide where float64 takes over."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.engine.native import bounds, build
from landscape.engine.native.build import NativeUnavailable
from landscape.engine.native.curves import CELLS, fit_curve
from landscape.quant.elementwise import activation_function
from landscape.quant.qparams import CodeRange
from landscape.quant.steps import step_table

F = np.float32
HIGHEST = 255.0


def inside(t: np.ndarray) -> np.ndarray:
    """Where a value matters: in the range of the codes, and one beyond."""
    return (t >= -1.0) & (t <= HIGHEST + 1.0)


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Fused multiply-add: the product of two float32 numbers is exact in float64."""
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(F)


def separate(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (a * b + c).astype(F)


MULTIPLY_ADD = [fused, separate]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), spread=st.floats(1.0, 1e5), largest_sum=st.sampled_from([10**3, 10**6, 2**31 - 1])
)
@pytest.mark.parametrize("multiply_add", MULTIPLY_ADD)
def test_layers_stay_within_their_bound(multiply_add, seed: int, spread: float, largest_sum: int) -> None:
    generator = np.random.default_rng(seed)
    outputs, rows = 40, 50
    sums = generator.integers(-largest_sum, largest_sum, (rows, outputs)).astype(np.float64)
    totals = generator.integers(-50_000, 50_000, (rows, 1)).astype(np.float64)
    gain = generator.normal(size=outputs) * spread / largest_sum
    offset, bias = generator.normal(size=outputs) * spread / 50_000, generator.normal(size=outputs) * spread
    gains, offsets, biases = (torch.from_numpy(v) for v in (gain, offset, bias))
    tolerance, per_total = bounds.layer_bound(gains, offsets, biases, HIGHEST)
    base = multiply_add(offset.astype(F), totals.astype(F), bias.astype(F))
    actual = multiply_add(sums.astype(F), gain.astype(F), base).astype(np.float64)
    expected = sums * gain + (totals * offset + bias)
    error = np.abs(actual - expected) / (tolerance + per_total * np.abs(totals))
    assert error[inside(expected)].max(initial=0.0) < 1.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.01, 100.0), zero=st.integers(0, 255))
@pytest.mark.parametrize("multiply_add", MULTIPLY_ADD)
def test_sums_stay_within_their_bound(multiply_add, seed: int, spread: float, zero: int) -> None:
    generator = np.random.default_rng(seed)
    a = generator.integers(-2040, 2041, (50, 40)).astype(np.float64)
    b = generator.integers(-255, 256, (50, 40)).astype(np.float64)
    a_gain, b_gain = np.abs(generator.normal(size=40)), np.abs(generator.normal(size=40)) * spread
    tolerance = bounds.sum_bound(torch.from_numpy(a_gain), torch.from_numpy(b_gain), 255, zero, HIGHEST)
    first = multiply_add(a.astype(F), a_gain.astype(F), F(zero))
    actual = multiply_add(b.astype(F), b_gain.astype(F), first).astype(np.float64)
    expected = a * a_gain + (b * b_gain + zero)
    assert np.abs(actual - expected)[inside(expected)].max(initial=0.0) < tolerance


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.1, 1e4))
@pytest.mark.parametrize("multiply_add", MULTIPLY_ADD)
def test_norms_stay_within_their_bound(multiply_add, seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    numbers = generator.integers(-40_000_000, 40_000_001, (50, 40)).astype(np.float64)
    inverse = 1.0 / np.sqrt(generator.uniform(1e12, 1e16, (50, 1)))
    gain, shift = generator.normal(size=40) * spread, generator.normal(size=40) * spread
    tolerance = bounds.norm_bound(torch.from_numpy(gain), torch.from_numpy(shift), HIGHEST)
    actual = multiply_add(numbers.astype(F) * inverse.astype(F), gain.astype(F), shift.astype(F)).astype(np.float64)
    expected = numbers * inverse * gain + shift
    assert np.abs(actual - expected)[inside(expected)].max(initial=0.0) < tolerance


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-5, 1.0), zero=st.integers(0, 255))
@pytest.mark.parametrize("multiply_add", MULTIPLY_ADD)
def test_softmax_stays_within_its_bound(multiply_add, seed: int, scale: float, zero: int) -> None:
    generator = np.random.default_rng(seed)
    terms, total = generator.uniform(0.0, 1.0, 300), generator.uniform(1.0, 200.0)
    tolerance = bounds.softmax_bound(torch.tensor(scale, dtype=torch.float64), zero, HIGHEST)
    gain = np.full(300, 1.0 / (total * scale)).astype(F)
    actual = multiply_add(terms.astype(F), gain, F(zero)).astype(np.float64)
    expected = terms / total / scale + zero
    assert np.abs(actual - expected)[inside(expected)].max(initial=0.0) < tolerance


def test_constants_beyond_float32_leave_all_codes_to_float64() -> None:
    huge, one = torch.tensor([1e30], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert bounds.layer_bound(huge, None, one, HIGHEST) == (float("inf"), 0.0)
    assert bounds.norm_bound(one, huge, HIGHEST) == float("inf")
    assert bounds.softmax_bound(torch.tensor(1e-30, dtype=torch.float64), 0, HIGHEST) == float("inf")


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "relu", "relu6", "hardswish", "elu"])
@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.04, 1.0])
@pytest.mark.parametrize("zero", [0.0, 4.0, 255.0])
def test_a_curve_strays_from_the_code_no_farther_than_it_says(name: str, scale: float, zero: float) -> None:
    function = activation_function(name)
    table = step_table(
        function, torch.tensor(scale, dtype=torch.float64), torch.tensor(zero, dtype=torch.float64), CodeRange(8)
    )
    thresholds, codes = table.thresholds.numpy(), table.codes.numpy()
    curve = fit_curve(lambda v: function.function(v) / scale + zero, thresholds, codes, HIGHEST)
    if not np.isfinite(curve.stray):
        return
    first, last = curve.start - 10.0 * curve.width, curve.start + (CELLS + 10.0) * curve.width
    points = np.concatenate([np.linspace(first, last, 40_001), thresholds, np.nextafter(thresholds, -np.inf)])
    expected = table(torch.from_numpy(points)).numpy()
    y = np.clip((points - curve.start) / curve.width, 0.0, CELLS - 2.0**-19)
    cell = y.astype(int)
    values = sum(curve.coefficients[p, cell].astype(np.float64) * (y - cell) ** p for p in range(5))
    excess = np.abs(np.clip(values, 0.0, HIGHEST) - expected) - 0.5
    assert excess.max() <= curve.stray + 1e-9


def test_curves_of_usual_activations_rarely_need_float64() -> None:
    function = activation_function("gelu")
    scale, zero = torch.tensor(0.04, dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64)
    table = step_table(function, scale, zero, CodeRange(8))
    curve = fit_curve(
        lambda v: function.function(v) / 0.04 + 4.0, table.thresholds.numpy(), table.codes.numpy(), HIGHEST
    )
    assert curve.tolerance(0.0) < 1e-3


def test_an_instruction_set_that_fails_its_self_test_is_passed_over_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name: str) -> object:
        if name == "best":
            raise NativeUnavailable("the best kernels fail their self-test")
        return object()

    monkeypatch.setattr(build, "load", load)
    monkeypatch.setattr(build, "INSTRUCTION_SETS", {"best": ((), ()), "second": ((), ())})
    found = build.usable_instruction_set.__wrapped__()
    assert found == ("second", ("not best: the best kernels fail their self-test",))
