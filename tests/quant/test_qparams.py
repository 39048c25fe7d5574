"""Uniform quantization: parameters from a range, codes, values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.qparams import (
    SMALLEST_SCALE,
    CodeRange,
    PowerOfTwoQParams,
    QParams,
    channel_view,
    choose_qparams,
    dequantize,
    quantize,
)

code_ranges = st.builds(CodeRange, st.integers(2, 16), st.booleans())
# Away from the smallest scale, so that relative rounding of float64 is the only disturbance.
bounds = st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)).map(sorted).filter(lambda b: b[1] - b[0] > 1e-2)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def chosen(low: float, high: float, code_range: CodeRange, *, include_zero: bool = False) -> QParams:
    return choose_qparams(scalar(low), scalar(high), code_range, include_zero=include_zero)


def test_code_ranges_by_hand() -> None:
    assert (CodeRange(4).qmin, CodeRange(4).qmax, CodeRange(4).steps) == (0, 15, 15)
    assert (CodeRange(3, signed=True).qmin, CodeRange(3, signed=True).qmax) == (-4, 3)
    assert CodeRange(16).qmax == 65535


@pytest.mark.parametrize("bits", [1, 17, 0, -3, 4.0])
def test_bits_outside_2_to_16_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="expected an integer from 2 to 16"):
        CodeRange(bits)


def test_parameters_of_a_range_by_hand() -> None:
    # 8 bits over [-1, 4.1]: s = 5.1 / 255 = 0.02, z = round(1 / 0.02) = 50
    qparams = chosen(-1.0, 4.1, CodeRange(8))
    assert qparams.scale.item() == pytest.approx(0.02, rel=1e-15)
    assert qparams.zero_point.item() == 50.0
    assert qparams.scale.dtype == torch.float64


def test_signed_parameters_put_the_largest_magnitude_on_the_largest_code() -> None:
    qparams = choose_qparams(tensor(-1.27, 0.5), tensor(0.3, 2.54), CodeRange(8, signed=True))
    torch.testing.assert_close(qparams.scale, tensor(0.01, 0.02), rtol=1e-15, atol=0.0)
    assert torch.equal(qparams.zero_point, tensor(0.0, 0.0))


def test_a_positive_range_is_not_widened_to_zero_as_released() -> None:
    # [2, 4.55] at 8 bits: s = 0.01, z = clamp(-200) = 0, so the grid covers [0, 2.55] and 4.55 is clipped.
    code_range = CodeRange(8)
    qparams = chosen(2.0, 4.55, code_range)
    assert qparams.zero_point.item() == 0.0
    codes = quantize(tensor(2.0, 4.55), qparams.scale, qparams.zero_point, code_range)
    assert codes.tolist() == [200.0, 255.0]
    assert dequantize(codes, qparams.scale, qparams.zero_point)[1].item() == pytest.approx(2.55)


def test_a_negative_range_is_not_widened_to_zero_as_released() -> None:
    qparams = chosen(-4.55, -2.0, CodeRange(8))
    assert qparams.zero_point.item() == 255.0
    codes = quantize(tensor(-4.55, -2.0), qparams.scale, qparams.zero_point, CodeRange(8))
    assert codes.tolist() == [0.0, 55.0]


@given(bounds, code_ranges, st.floats(0.0, 1.0))
def test_with_zero_included_nothing_in_the_range_is_off_by_more_than_half_a_step(
    bound: list[float], code_range: CodeRange, position: float
) -> None:
    low, high = bound
    qparams = chosen(low, high, code_range, include_zero=True)
    x = scalar(min(high, low + position * (high - low)))
    value = dequantize(quantize(x, qparams.scale, qparams.zero_point, code_range), qparams.scale, qparams.zero_point)
    assert abs(value - x) <= qparams.scale / 2 * (1 + 1e-9)


@given(bounds, code_ranges, st.floats(0.0, 1.0))
def test_round_trip_error_is_at_most_half_a_step_inside_the_representable_range(
    bound: list[float], code_range: CodeRange, position: float
) -> None:
    qparams = chosen(bound[0], bound[1], code_range)
    first = dequantize(scalar(code_range.qmin), qparams.scale, qparams.zero_point)
    last = dequantize(scalar(code_range.qmax), qparams.scale, qparams.zero_point)
    x = first + position * (last - first)
    value = dequantize(quantize(x, qparams.scale, qparams.zero_point, code_range), qparams.scale, qparams.zero_point)
    assert abs(value - x) <= qparams.scale / 2 * (1 + 1e-9)


@given(bounds, code_ranges, st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=50))
def test_codes_are_integers_in_range_and_monotone(bound: list[float], code_range: CodeRange, x: list[float]) -> None:
    qparams = chosen(bound[0], bound[1], code_range)
    codes = quantize(tensor(*sorted(x)), qparams.scale, qparams.zero_point, code_range)
    assert torch.equal(codes, codes.round())
    assert codes.min() >= code_range.qmin
    assert codes.max() <= code_range.qmax
    assert bool((codes.diff() >= 0).all())


@given(bounds, st.integers(2, 10), st.booleans())
@settings(max_examples=30)
def test_quantizing_a_quantized_value_changes_nothing(bound: list[float], bits: int, signed: bool) -> None:
    code_range = CodeRange(bits, signed)
    qparams = chosen(bound[0], bound[1], code_range)
    codes = torch.arange(code_range.qmin, code_range.qmax + 1, dtype=torch.float64)
    again = quantize(
        dequantize(codes, qparams.scale, qparams.zero_point), qparams.scale, qparams.zero_point, code_range
    )
    assert torch.equal(again, codes)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), code_ranges)
def test_zero_is_represented_exactly_and_scales_are_positive_for_any_range(
    a: float, b: float, code_range: CodeRange
) -> None:
    qparams = chosen(min(a, b), max(a, b), code_range)
    assert qparams.scale.item() >= SMALLEST_SCALE
    assert code_range.qmin <= qparams.zero_point.item() <= code_range.qmax
    code = quantize(scalar(0.0), qparams.scale, qparams.zero_point, code_range)
    assert dequantize(code, qparams.scale, qparams.zero_point).item() == 0.0


def test_rounding_is_half_to_even_after_the_zero_point_is_added() -> None:
    # 0.5 + 3 = 3.5 rounds to 4; rounding 0.5 first would give 0 + 3 = 3.
    codes = quantize(tensor(0.5, 1.5, -0.5), scalar(1.0), scalar(3.0), CodeRange(4))
    assert codes.tolist() == [4.0, 4.0, 2.0]


def test_float32_input_is_quantized_in_float64() -> None:
    x = torch.tensor([0.1], dtype=torch.float32)
    assert quantize(x, scalar(0.1), scalar(0.0), CodeRange(8)).dtype == torch.float64


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_a_bound_that_is_not_finite_is_named(bad: float, name: str) -> None:
    good = tensor(0.0, 0.0)
    bounds = {"minimum": good, "maximum": good, name: tensor(0.0, bad)}
    with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
        choose_qparams(bounds["minimum"], bounds["maximum"], CodeRange(8))


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="larger than its maximum"):
        chosen(1.0, 0.0, CodeRange(8))
    with pytest.raises(ValueError, match="expected the same"):
        choose_qparams(tensor(0.0), tensor(1.0, 2.0), CodeRange(8))
    with pytest.raises(ValueError, match="overflows"):
        chosen(-1.7e308, 1.7e308, CodeRange(2))


def test_channel_view_broadcasts_along_its_axis_only() -> None:
    vector = tensor(1.0, 2.0, 3.0)
    assert channel_view(vector, 4, 1).shape == (1, 3, 1, 1)
    assert channel_view(vector, 3, -1).shape == (1, 1, 3)
    assert channel_view(scalar(2.0), 3, 0).shape == ()
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        channel_view(vector, 2, 2)
    with pytest.raises(ValueError, match="expected"):
        channel_view(vector.reshape(1, 3), 2, 0)


def test_per_channel_quantization_equals_quantizing_each_channel_alone() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale, zero_point = tensor(0.1, 0.2, 0.3), tensor(1.0, 7.0, 12.0)
    together = quantize(x, channel_view(scale, 2, 0), channel_view(zero_point, 2, 0), CodeRange(4))
    for channel in range(3):
        alone = quantize(x[channel], scale[channel], zero_point[channel], CodeRange(4))
        assert torch.equal(together[channel], alone)


def test_power_of_two_channel_scales_by_hand() -> None:
    qparams = PowerOfTwoQParams(scalar(0.3), scalar(0.0), torch.tensor([0, 1, 2, 3]))
    assert qparams.channel_scale.tolist() == [0.3, 0.6, 1.2, 2.4]
