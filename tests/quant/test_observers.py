"""MinMax, EMA and percentile observers, and the MinMax weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.observers import EMAObserver, MinMaxObserver, Observer, PercentileObserver, minmax_weight
from landscape.quant.omse import OMSEObserver
from landscape.quant.power_of_two import PowerOfTwoFactorObserver
from landscape.quant.qparams import CodeRange, QParams, choose_qparams

EIGHT = CodeRange(8)
AnyObserver = TypeVar("AnyObserver", bound=Observer)
ALL_OBSERVERS: list[Callable[[CodeRange], Observer]] = [
    MinMaxObserver,
    EMAObserver,
    PercentileObserver,
    OMSEObserver,
    PowerOfTwoFactorObserver,
]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def show(observer: AnyObserver, *batches: Tensor) -> AnyObserver:
    for number in range(observer.passes):
        for batch in batches:
            observer.observe(batch, number)
    return observer


def expect(qparams: QParams, low: float, high: float) -> None:
    expected = choose_qparams(scalar(low), scalar(high), EIGHT)
    torch.testing.assert_close(qparams.scale, expected.scale, rtol=1e-14, atol=0.0)
    assert qparams.zero_point == expected.zero_point


@given(st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=20)
def test_minmax_does_not_depend_on_how_the_data_is_cut_into_batches(parts: int, seed: int) -> None:
    data = normal(12, 5, seed=seed)
    observer = MinMaxObserver(EIGHT)
    show(observer, *data.chunk(parts))
    expect(observer.qparams(), data.min().item(), data.max().item())


def test_ema_by_hand() -> None:
    observer = EMAObserver(EIGHT, sigma=0.1)
    show(observer, torch.tensor([-1.0, 2.0]), torch.tensor([-3.0, 7.0]), torch.tensor([0.0, 0.0]))
    # low: -1, -1 + 0.1 (-3 + 1) = -1.2, -1.2 + 0.1 * 1.2 = -1.08; high: 2, 2.5, 2.25
    expect(observer.qparams(), -1.08, 2.25)


def test_ema_defaults_to_the_released_sigma() -> None:
    observer = EMAObserver(EIGHT)
    show(observer, torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 2.0]))
    expect(observer.qparams(), -0.01, 1.01)


def test_percentile_is_the_linear_quantile_of_each_batch() -> None:
    observer = PercentileObserver(EIGHT, alpha=0.9, sigma=0.5)
    # 0..10: quantiles 0.1 and 0.9 are 1 and 9; -2 and 4: linear quantiles -1.4 and 3.4
    show(observer, torch.arange(11.0), torch.tensor([-2.0, 4.0]))
    expect(observer.qparams(), 0.5 * (1.0 - 1.4), 0.5 * (9.0 + 3.4))


def test_percentile_takes_more_values_than_torch_quantile_could() -> None:
    values = torch.arange(2**24 + 2, dtype=torch.float32)
    observer = PercentileObserver(EIGHT)
    observer.observe(values)
    last = 2.0**24 + 1
    expect(observer.qparams(), (1 - 0.99999) * last, 0.99999 * last)


def test_zero_can_be_included_in_the_range() -> None:
    observer = MinMaxObserver(EIGHT, include_zero=True)
    observer.observe(torch.tensor([2.0, 4.0]))
    expect(observer.qparams(), 0.0, 4.0)


@pytest.mark.parametrize("kind", ALL_OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 5.0, -1e-9, 1e30])
def test_a_constant_tensor_gives_a_positive_finite_scale(kind: Callable[[CodeRange], Observer], value: float) -> None:
    qparams = show(kind(EIGHT), torch.full((2, 3, 4), value, dtype=torch.float64)).qparams()
    assert 0.0 < qparams.scale.item() < float("inf")
    assert 0.0 <= qparams.zero_point.item() <= 255.0


@pytest.mark.parametrize("kind", ALL_OBSERVERS)
@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("inf"), "infinity"), (-float("inf"), "inf")])
def test_values_that_are_not_finite_are_named(kind: Callable[[CodeRange], Observer], value: float, name: str) -> None:
    with pytest.raises(ValueError, match=rf"shape \(2, 2\) holds {name}"):
        kind(EIGHT).observe(torch.tensor([[0.0, value], [1.0, 2.0]]))


@pytest.mark.parametrize("kind", ALL_OBSERVERS)
def test_observers_that_have_not_seen_all_passes_say_so(kind: Callable[[CodeRange], Observer]) -> None:
    observer = kind(EIGHT)
    with pytest.raises(ValueError, match="no batch in pass 0"):
        observer.qparams()
    with pytest.raises(ValueError, match="empty"):
        observer.observe(torch.empty(0, 3))
    observer.observe(normal(2, 3))
    if observer.passes == 2:
        with pytest.raises(ValueError, match="no batch in pass 1"):
            observer.qparams()
    with pytest.raises(ValueError, match="there is no pass"):
        observer.observe(normal(2, 3), observer.passes)


def test_passes_come_in_order() -> None:
    observer = OMSEObserver(EIGHT)
    with pytest.raises(ValueError, match="in order"):
        observer.observe(normal(3), 1)
    show(observer, normal(3))
    with pytest.raises(ValueError, match="in order"):
        observer.observe(normal(3), 0)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma is 0"):
        EMAObserver(EIGHT, sigma=0.0)
    with pytest.raises(ValueError, match=r"alpha is 0\.5"):
        PercentileObserver(EIGHT, alpha=0.5)


def test_minmax_weight_has_the_parameters_of_every_output_channel() -> None:
    weight = normal(4, 3, 2, 2).float()
    found = minmax_weight(weight, CodeRange(4))
    assert found.scale.shape == (4,)
    for channel in range(4):
        row = weight[channel].double()
        expected = choose_qparams(row.min(), row.max(), CodeRange(4))
        assert found.scale[channel] == expected.scale
        assert found.zero_point[channel] == expected.zero_point


def test_weights_that_cannot_be_quantized_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(out, ...\)"):
        minmax_weight(normal(4), EIGHT)
    with pytest.raises(ValueError, match="holds NaN"):
        minmax_weight(torch.full((2, 2), float("nan")), EIGHT)
    with pytest.raises(ValueError, match="empty"):
        minmax_weight(torch.empty(2, 0), EIGHT)
