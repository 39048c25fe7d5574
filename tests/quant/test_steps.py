"""Activation functions and their step tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from landscape.quant.elementwise import ACTIVATIONS, Elementwise, activation_function
from landscape.quant.qparams import CodeRange, quantize
from landscape.quant.steps import StepTable, step_table

mpmath = pytest.importorskip(
    "mpmath", reason="exact references need mpmath, which comes with PyTorch (by way of sympy)"
)

INFINITY = float("inf")
TORCH = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "mish": functional.mish,
    "exp": torch.exp,
    "abs": torch.abs,
    "square": torch.square,
    "sqrt": lambda x: torch.sqrt(x.clamp_min(0.0)),
    "rsqrt": lambda x: torch.rsqrt(x.clamp_min(0.0)),
    "reciprocal": lambda x: torch.reciprocal(x + 0.0),  # of either zero plus infinity
    "clamp": lambda x: x.clamp(-0.5, 1.25),
}
OPTIONS = {"clamp": {"low": -0.5, "high": 1.25}}


def function_of(name: str) -> Elementwise:
    return activation_function(name, OPTIONS.get(name))


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def parameters_of(name: str, bits: int) -> tuple[Tensor, Tensor, CodeRange]:
    """A scale and zero point as calibration would find them."""
    values = function_of(name)(torch.linspace(-8, 7, 1000))
    values = values[values.isfinite()]
    scale = (values.max() - values.min()) / (2**bits - 1) * 0.97
    return scale, torch.round(-values.min() / scale).clamp(0, 2**bits - 1), CodeRange(bits)


def table_and_direct(name: str, bits: int, x: Tensor) -> tuple[StepTable, Tensor, Tensor]:
    scale, zero_point, code_range = parameters_of(name, bits)
    table = step_table(function_of(name), scale, zero_point, code_range)
    return table, table(x), quantize(function_of(name)(x), scale, zero_point, code_range)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_functions_agree_with_pytorch(name: str) -> None:
    x = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64)
    torch.testing.assert_close(function_of(name)(x), TORCH[name](x), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("x", [-30.0, -9.5, -3.0, -1e-9, 0.3])
def test_gelu_keeps_its_precision_in_the_left_tail(x: float) -> None:
    with mpmath.workdps(60):
        exact = float(x * mpmath.ncdf(x))
        u = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(0.044715) * mpmath.mpf(x) ** 3)
        exact_tanh = float(x * (1 + mpmath.tanh(u)) / 2)
    # The argument of an exponential of size u carries its rounding error u-fold.
    assert activation_function("gelu")(scalar(x)).item() == pytest.approx(exact, rel=1e-13)
    assert activation_function("gelu_tanh")(scalar(x)).item() == pytest.approx(exact_tanh, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
def test_turning_points_are_where_the_derivative_changes_sign(name: str) -> None:
    derivative = {
        "gelu": lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x),
        "silu": lambda x: 1 + x - x / (1 + mpmath.exp(-x)),
        "mish": lambda x: mpmath.diff(lambda y: y * mpmath.tanh(mpmath.log1p(mpmath.exp(y))), x),
        "gelu_tanh": lambda x: mpmath.diff(
            lambda y: y * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (y + mpmath.mpf("0.044715") * y**3))), x
        ),
    }[name]
    (turn,) = activation_function(name).turning_points
    with mpmath.workdps(40):
        assert (
            derivative(mpmath.mpf(math.nextafter(turn, -INFINITY)))
            < 0
            < derivative(mpmath.mpf(math.nextafter(turn, INFINITY)))
        )


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_table_equals_direct_evaluation_on_random_points(name: str, bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, dtype=torch.float64, generator=generator) * 3
    _, table, direct = table_and_direct(name, bits, x)
    assert torch.equal(table, direct)


def test_the_table_equals_direct_evaluation_on_a_million_points() -> None:
    x = torch.randn(1_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 4
    _, table, direct = table_and_direct("gelu", 8, x)
    assert torch.equal(table, direct)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bits", [3, 8, 12])
def test_the_table_equals_direct_evaluation_at_each_threshold_and_just_below(name: str, bits: int) -> None:
    thresholds = table_and_direct(name, bits, scalar(0.0))[0].thresholds
    below = torch.nextafter(thresholds, scalar(-INFINITY))
    for x in (thresholds, below):
        _, table, direct = table_and_direct(name, bits, x)
        assert torch.equal(table, direct)
    assert bool((table_and_direct(name, bits, thresholds)[1] != table_and_direct(name, bits, below)[1]).all())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_table_covers_tails_zeros_and_infinities(name: str) -> None:
    largest = float(np.finfo(np.float64).max)
    values = [-largest, -1e300, -1e5, -40.0, -5e-324, -0.0, 0.0, 5e-324, 40.0, 1e5, 1e300, largest]
    table, found, direct = table_and_direct(name, 8, torch.tensor(values, dtype=torch.float64))
    assert torch.equal(found, direct)
    ends = table(torch.tensor([-INFINITY, INFINITY], dtype=torch.float64))
    assert ends.tolist() == [direct[0].item(), direct[-1].item()]


def test_every_code_between_the_extremes_is_there() -> None:
    table = step_table(activation_function("sigmoid"), scalar(1 / 255), scalar(0.0), CodeRange(8))
    assert table.codes.tolist() == [float(code) for code in range(256)]
    # sigmoid(x) = (k + 1/2) / 255 at the threshold between k and k + 1
    expected = [math.log((k + 0.5) / (254.5 - k)) for k in range(255)]
    torch.testing.assert_close(table.thresholds, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_gelu_goes_down_and_up_again() -> None:
    # min -0.16997, scale 0.05, z = 3: codes 3, 2, 1, .. then 0 is not reached: -0.17 / 0.05 = -3.4 rounds to -3
    table = step_table(activation_function("gelu"), scalar(0.05), scalar(3.0), CodeRange(4))
    assert table.codes.tolist() == [3.0, 2.0, 1.0, 0.0, *[float(code) for code in range(1, 16)]]


def test_a_constant_function_has_no_thresholds() -> None:
    table = step_table(Elementwise(np.zeros_like), scalar(0.1), scalar(2.0), CodeRange(4))
    assert table.thresholds.numel() == 0
    assert table(torch.randn(5, dtype=torch.float64)).tolist() == [2.0] * 5


def test_jumps_over_several_codes_and_at_turning_points_are_kept() -> None:
    jump = Elementwise(lambda x: np.where(x > 1.0, 5.0 - x, np.where(x >= 0.0, 3.0, 0.0)), (1.0,))
    table = step_table(jump, scalar(1.0), scalar(0.0), CodeRange(4))
    x = torch.tensor([-0.1, 0.0, 1.0, math.nextafter(1.0, 2.0), 1.6, 9.0], dtype=torch.float64)
    assert table(x).tolist() == [0.0, 3.0, 3.0, 4.0, 3.0, 0.0]


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.2, 2.0])
def test_leaky_relu_takes_any_slope(slope: float) -> None:
    function = activation_function("leaky_relu", {"negative_slope": slope})
    x = torch.randn(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    table = step_table(function, scalar(0.03), scalar(60.0), CodeRange(8))
    direct = quantize(functional.leaky_relu(x, slope), scalar(0.03), scalar(60.0), CodeRange(8))
    assert torch.equal(table(x), direct)


def test_batches_do_not_matter() -> None:
    table = step_table(activation_function("gelu"), scalar(0.02), scalar(9.0), CodeRange(8))
    x = torch.randn(64, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(table(x), torch.stack([table(row) for row in x]))
    assert torch.equal(table.to("cpu")(x), table(x))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="positive finite scalar"):
        step_table(activation_function("relu"), scalar(0.0), scalar(0.0), CodeRange(8))
    with pytest.raises(ValueError, match="positive finite scalar"):
        step_table(activation_function("relu"), torch.ones(2), scalar(0.0), CodeRange(8))
    with pytest.raises(ValueError, match="no activation function 'softsign'"):
        activation_function("softsign")
    with pytest.raises(ValueError, match="options"):
        activation_function("relu", {"negative_slope": 0.1})
