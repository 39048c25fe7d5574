"""OMSE: the squared-error search over shrunken ranges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.observers import minmax_weight
from landscape.quant.omse import OMSEObserver, omse_weight
from landscape.quant.qparams import CodeRange, QParams


def heavy_tailed(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** 3


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def squared_error(x: Tensor, scale: Tensor, zero_point: Tensor, code_range: CodeRange) -> Tensor:
    """Written out here, independently of the code under test; per row."""
    codes = (x / scale + zero_point).round().clamp(code_range.qmin, code_range.qmax)
    return ((codes - zero_point) * scale - x).square().sum(-1)


def candidates_by_hand(low: float, high: float, bits: int) -> list[tuple[float, float]]:
    """The 90 released candidates of an unsigned range."""
    found = []
    for i in range(90):
        new_low, new_high = low * (1.0 - 0.01 * i), high * (1.0 - 0.01 * i)
        scale = max((new_high - new_low) / (2**bits - 1), 2.0**-23)
        found.append((scale, float(min(max(-round(new_low / scale), 0), 2**bits - 1))))
    return found


def errors_by_hand(x: Tensor, bits: int) -> Tensor:
    candidates = candidates_by_hand(x.min().item(), x.max().item(), bits)
    return torch.stack([squared_error(x.reshape(-1), scalar(s), scalar(z), CodeRange(bits)) for s, z in candidates])


def observed(x: Tensor, code_range: CodeRange, parts: int = 3) -> OMSEObserver:
    observer = OMSEObserver(code_range)
    for number in (0, 1):
        for batch in x.chunk(parts):
            observer.observe(batch, number)
    return observer


@given(st.integers(2, 8), st.booleans(), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=20)
def test_omse_is_never_worse_than_minmax(bits: int, signed: bool, shared_ratio: bool, seed: int) -> None:
    weight, code_range = heavy_tailed(6, 40, seed=seed), CodeRange(bits, signed)
    plain = minmax_weight(weight, code_range)
    found = omse_weight(weight, code_range, shared_ratio=shared_ratio)
    before = squared_error(weight, plain.scale[:, None], plain.zero_point[:, None], code_range)
    after = squared_error(weight, found.scale[:, None], found.zero_point[:, None], code_range)
    if shared_ratio:
        assert after.sum() <= before.sum() * (1 + 1e-12)
    else:
        assert bool((after <= before * (1 + 1e-12)).all())


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_weights_get_the_best_candidate_of_every_channel(bits: int) -> None:
    weight = heavy_tailed(5, 3, 4, 4)
    found = omse_weight(weight, CodeRange(bits))
    for channel, row in enumerate(weight.reshape(5, -1)):
        best = int(errors_by_hand(row, bits).argmin())
        scale, zero_point = candidates_by_hand(row.min().item(), row.max().item(), bits)[best]
        assert found.scale[channel].item() == pytest.approx(scale, rel=1e-14)
        assert found.zero_point[channel].item() == zero_point


def test_a_shared_ratio_is_the_best_for_the_whole_layer() -> None:
    weight = heavy_tailed(5, 60)
    total = torch.stack([errors_by_hand(row, 4) for row in weight]).sum(0)
    found = omse_weight(weight, CodeRange(4), shared_ratio=True)
    plain = minmax_weight(weight, CodeRange(4))
    ratio = 1.0 - 0.01 * int(total.argmin())
    assert ratio < 1.0
    torch.testing.assert_close(found.scale, plain.scale * ratio, rtol=1e-14, atol=0.0)


def test_large_layers_are_searched_piece_by_piece_with_the_same_result() -> None:
    weight = heavy_tailed(130, 700)
    found, alone = omse_weight(weight, CodeRange(4)), omse_weight(weight[-1:], CodeRange(4))
    assert found.scale[-1:].equal(alone.scale)
    assert found.zero_point[-1:].equal(alone.zero_point)


def test_channels_without_spread_get_the_first_candidate() -> None:
    weight = torch.tensor([[0.0, 0.0], [-0.3, 0.6]])
    found = omse_weight(weight, CodeRange(4))
    assert found.scale[0].item() == 2.0**-23
    assert bool(torch.isfinite(found.scale).all())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", ["normal", "heavy", "relu"])
def test_the_histogram_error_exceeds_the_true_error_by_no_more_than_its_bound(bits: int, kind: str) -> None:
    x = heavy_tailed(30000)
    x = {"normal": x.sign() * x.abs() ** (1 / 3), "heavy": x, "relu": x.clamp(min=0)}[kind]
    observer = observed(x, CodeRange(bits))
    estimated, true = observer.squared_errors(), errors_by_hand(x, bits)
    bin_width = (x.max() - x.min()).item() / observer.bins
    rounding = 1e-12 * x.square().sum()
    for (scale, zero_point), over, error in zip(
        candidates_by_hand(x.min().item(), x.max().item(), bits), estimated - true, true, strict=True
    ):
        boundary = (torch.round(x / scale + zero_point - 0.5) + 0.5 - zero_point) * scale
        near = int(((x - boundary).abs() <= bin_width).sum())
        assert -rounding <= over <= 2 * scale * bin_width * near + rounding
        assert over <= 0.01 * error
    # The choice costs nothing that matters: its true error is within that same excess of the best.
    assert true[int(estimated.argmin())] <= true.min() * 1.001


def test_activations_get_the_best_candidate_when_bins_hold_one_value_each() -> None:
    # Few distinct values, each alone in its bin: the histogram is exact and must agree with brute force.
    values = torch.tensor([-1.0, -0.31, 0.0, 0.0, 0.0, 0.07, 0.12, 0.2, 0.33, 0.4, 0.55, 3.0], dtype=torch.float64)
    x = values.repeat_interleave(torch.tensor([1, 40, 60, 60, 60, 50, 40, 45, 30, 50, 20, 1]))
    true = errors_by_hand(x, 4)
    observer = observed(x, CodeRange(4), parts=7)
    torch.testing.assert_close(observer.squared_errors(), true, rtol=1e-9, atol=1e-12)
    scale, zero_point = candidates_by_hand(-1.0, 3.0, 4)[int(true.argmin())]
    found = observer.qparams()
    assert int(true.argmin()) > 0
    assert found.scale.item() == pytest.approx(scale, rel=1e-14)
    assert found.zero_point.item() == zero_point


def test_activations_do_not_depend_on_how_they_are_cut_into_batches() -> None:
    x = heavy_tailed(5000)
    one, many = observed(x, CodeRange(8), parts=1).qparams(), observed(x, CodeRange(8), parts=17).qparams()
    assert one.scale == many.scale
    assert one.zero_point == many.zero_point


def test_sixteen_bits_are_searched_too() -> None:
    x = heavy_tailed(20000)
    found = observed(x, CodeRange(16)).qparams()
    plain = QParams((x.max() - x.min()) / 65535, found.zero_point)
    assert 0.1 * plain.scale < found.scale <= plain.scale * (1 + 1e-12)


def test_zero_is_included_before_shrinking() -> None:
    observer = OMSEObserver(CodeRange(8), include_zero=True)
    x = torch.linspace(2.0, 4.0, 1000, dtype=torch.float64)
    for number in (0, 1):
        observer.observe(x, number)
    found = observer.qparams()
    assert squared_error(x, found.scale, found.zero_point, CodeRange(8)).item() < 1000 * (4.0 / 255) ** 2 / 11
