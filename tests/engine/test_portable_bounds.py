"""Kernels of the portable engine by themselves: what they do not call doubtful is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from landscape.engine.portable import float32, float64
from landscape.engine.portable.activations import FAST
from landscape.engine.portable.values import Powers
from landscape.quant.elementwise import activation_function
from landscape.quant.layer_norm import integer_layer_norm
from landscape.quant.softmax import log_int_constants, log_int_softmax, softmax_table, uniform_softmax


@pytest.mark.parametrize("scale", [1e-5, 0.003, 0.06, 0.5, 1.6])
@pytest.mark.parametrize("bits", [2, 4])
def test_rows_of_log_int_softmax_that_are_not_doubtful_are_the_reference_s(scale: float, bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand((600, 1), generator=generator) * 255
    logits = (torch.rand((600, 37), generator=generator) * spread).to(torch.uint8)
    smallest = 2**bits - 1
    b, c, m = log_int_constants(scale)
    n1, n2, n3, n4, error = (torch.tensor(n, dtype=torch.float32) for n in (1 / m, m, b, c, 77 * 2.0**-24))
    codes, doubts = float32.log_softmax(logits, n1, n2, n3, n4, error, smallest)
    doubtful = doubts != 0
    expected, value = log_int_softmax(logits.double(), softmax_table(scale, "log2"), bits)
    assert torch.equal(codes[~doubtful].double(), expected[~doubtful])
    assert doubtful.double().mean() < 0.3  # small integers lie on thresholds
    low, high = float32.powers(expected.to(torch.uint8), smallest).double()
    assert torch.equal((low + 256 * high) * 2.0**-smallest, value)
    assert torch.equal(Powers(expected.to(torch.uint8), smallest).value(), value)


@pytest.mark.parametrize("factors", [False, True])
def test_rows_of_integer_layer_norm_that_are_not_doubtful_are_the_reference_s(factors: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (400, 40), generator=generator, dtype=torch.uint8)
    codes[7] = 100  # a constant row
    weight, bias = torch.randn((2, 40), generator=generator, dtype=torch.float64)
    weight[3] = 0.0
    power = 2.0 ** torch.randint(0, 4, (40,), generator=generator) if factors else None
    scale, zero = torch.tensor([0.02, 90.0], dtype=torch.float64)
    found, doubts = float64.integer_layer_norm(
        codes, torch.tensor(100.0), power, weight / scale, bias / scale, zero, *_ENDS
    )
    doubtful = doubts != 0
    c = (codes.double() - 100.0) * (1.0 if power is None else power.double())
    expected = (integer_layer_norm(c, 0.01, weight, bias, scale) + zero).clamp(0.0, 255.0)
    assert doubtful[7] and doubtful.sum() < 4
    assert torch.equal(found[~doubtful].double(), expected[~doubtful])


def test_the_bound_of_gelu_is_not_far_above_its_error() -> None:
    points = np.linspace(-6, 6, 200_001).astype(np.float32)
    exact = points.astype(np.float64) * ndtr(points.astype(np.float64))
    error = np.abs(FAST["gelu"].function(torch.from_numpy(points)).double().numpy() - exact) / np.abs(points).clip(1e-9)
    assert error.max() > 0.05 * FAST["gelu"].error


_ENDS = (torch.tensor(0.0), torch.tensor(255.0))


def _layer(sums: list[list[int]], gain: float, magnitude: float) -> list[bool]:
    """Which rows of one channel are doubtful; NaN is."""
    one = torch.ones(1, dtype=torch.float64)
    limit = float64.tie_limit(one * magnitude)
    doubts = float64.layer(torch.tensor(sums), one * gain, None, one * 0.0, limit, *_ENDS)[1]
    return [number != 0.0 for number in doubts.tolist()]


def test_codes_that_are_not_doubtful_are_those_of_exact_arithmetic() -> None:
    """Halves, thirds and sevenths of integers: every seventh row or so lies on a tie, or would but for rounding."""
    sums = torch.arange(-4000, 4000, dtype=torch.int32)[:, None].repeat(1, 2)
    sums[:, 1] = torch.arange(8000) % 5
    for numerator, denominator in ((1, 2), (1, 6), (1, 14), (3, 34)):
        gain, offset, bias = (torch.tensor([v], dtype=torch.float64) for v in (numerator / denominator, 1 / 10, 0.3))
        limit = float64.tie_limit(gain * 4000 + offset * 5 + bias)
        codes, doubts = float64.layer(sums, gain, offset, bias, limit, *_ENDS)
        ten = 10 * denominator  # everything is a multiple of 1 / ten
        exact = sums[:, 0].long() * numerator * 10 + sums[:, 1].long() * denominator + 3 * denominator
        twice = 2 * exact
        tie = (twice % (2 * ten)) == ten
        nearest = ((twice + ten) // (2 * ten)).clamp(0, 255)
        assert torch.equal(doubts != 0, tie)
        assert torch.equal(codes[~tie, 0].long(), nearest[~tie])


def test_values_nearer_to_a_tie_than_the_bound_are_doubtful() -> None:
    """The bound is 24 2^-53 times the magnitude, and 2^-24 for the distance in float32."""
    assert _layer([[1, 0], [3, 0], [4, 0]], 0.5, 0.0) == [True, True, False]
    assert _layer([[1, 0], [4, 0]], 0.5 - 2e-6, 1e-6 / (24 * 2.0**-53)) == [False, False]
    assert _layer([[1, 0], [4, 0]], 0.5 - 2e-6, 3e-6 / (24 * 2.0**-53)) == [True, False]
    assert _layer([[1, 0], [4, 0]], 0.5 - 2e-8, 0.0) == [True, False]
    assert _layer([[1, 0], [4, 0]], 0.5, 1e16) == [True, True]  # a bound above 1/2 decides nothing


def test_values_that_are_no_numbers_are_doubtful() -> None:
    for gain in (torch.inf, torch.nan):
        assert all(_layer([[1, 0], [0, 0]], gain, 0.0))


@pytest.mark.parametrize("name", FAST)
def test_tiles_are_settled_but_for_what_lies_on_a_tie(name: str) -> None:
    """The second step of an activation function: float64 decides all but one number in some ten thousand."""
    generator = torch.Generator().manual_seed(0)
    sums = torch.randint(-3000, 3000, (500, 65), generator=generator, dtype=torch.int32)
    gain = torch.rand((4, 16), generator=generator, dtype=torch.float64) * 1e-3
    bias = torch.randn((4, 16), generator=generator, dtype=torch.float64)
    scale, zero = 0.02, 9.0
    error, relative = float64.activation_bound(name, gain * 3000 + bias.abs(), scale, zero)
    rows, tiles = torch.arange(500), torch.arange(500) % 4
    r, i, z = (torch.tensor(v, dtype=torch.float64) for v in (relative, 1 / scale, zero))
    codes, doubtful = float64.tiles_with_activation(
        sums, rows, tiles, tiles, gain, None, bias, error, r, i, z, *_ENDS, name
    )
    x = sums[:, :64].reshape(500, 4, 16)[rows, tiles].double() * gain[tiles] + bias[tiles]
    exact = torch.from_numpy(activation_function(name).function(x.numpy())) / scale + zero
    expected = exact.round().clamp(0, 255)
    assert torch.equal(codes[~doubtful].double(), expected[~doubtful])
    assert doubtful.double().mean() < 1e-3


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [((3, 3), (1, 1), (1, 1)), ((5, 4), (2, 1), (1, 1)), ((2, 3), (1, 3), (2, 2))]
)
def test_depthwise_sums_are_those_of_integers(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (2, 13, 11, 5), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-255, 256, (5, 1, *kernel), generator=generator)
    expected = torch.nn.functional.conv2d(
        codes.permute(0, 3, 1, 2).long(), weight, stride=stride, dilation=dilation, groups=5
    )
    size = (expected.shape[2], expected.shape[3])
    sums = float32.depthwise(codes, weight.flatten(1).T.float(), size, kernel, stride, dilation)
    assert torch.equal(sums.long(), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("scale", [0.0007, 0.01, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_codes_that_are_not_doubtful_are_the_reference_s(scale: float, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 256, (400, 37), generator=generator, dtype=torch.uint8)
    if masked:
        mask = torch.rand((400, 37), generator=generator) < 0.4
        logits = logits.int() + torch.where(mask, round(-100 / scale), 0).int()
    out = torch.tensor(1 / 200, dtype=torch.float64)
    powers = torch.exp(-scale * 2.0 ** torch.arange(16 if masked else 8, dtype=torch.float64)).float()
    codes, doubts = float32.softmax(logits, powers, (1 / out).float(), torch.tensor(3.0), torch.tensor(255.0))
    doubtful = doubts != 0
    value = uniform_softmax(logits.double(), softmax_table(scale, "uniform"))
    expected = (value / out + 3.0).round().clamp(0, 255)
    assert torch.equal(codes[~doubtful].double(), expected[~doubtful])
    assert doubtful.double().mean() < 0.05
