"""Power-of-two factors per channel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landscape.quant.power_of_two import PowerOfTwoFactorObserver
from landscape.quant.qparams import CodeRange, PowerOfTwoQParams

EIGHT = CodeRange(8)


def batches_of(count: int = 3, channels: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    spread = 4.0 ** torch.arange(channels, dtype=torch.float64) / 64
    return [torch.randn(2, 50, channels, dtype=torch.float64, generator=generator) * spread for _ in range(count)]


def observed(batches: list[Tensor], channel_axis: int = -1, code_range: CodeRange = EIGHT) -> PowerOfTwoQParams:
    observer = PowerOfTwoFactorObserver(code_range, channel_axis=channel_axis)
    for number in (0, 1):
        for batch in batches:
            observer.observe(batch, number)
    return observer.qparams()


def error_of(x: Tensor, scale: float, zero_point: float) -> float:
    codes = (x / scale + zero_point).round().clamp(0, 255)
    return float(((codes - zero_point) * scale - x).square().sum())


@given(st.integers(1, 8), st.integers(0, 2**32))
@settings(max_examples=20)
def test_factors_are_powers_of_two_up_to_eight(channels: int, seed: int) -> None:
    found = observed(batches_of(channels=channels, seed=seed))
    assert found.exponents.shape == (channels,)
    assert found.exponents.dtype == torch.int64
    assert set((found.channel_scale / found.scale).tolist()) <= {1.0, 2.0, 4.0, 8.0}


def test_layer_scale_and_zero_point_follow_the_released_rule() -> None:
    batches = batches_of()
    everything = torch.cat(batches)
    scale8 = (everything.max() - everything.min()).item() / 255
    found = observed(batches)
    assert found.scale.item() == pytest.approx(scale8 / 8, rel=1e-14)
    assert found.zero_point.item() == -round(everything.min().item() / scale8)


def test_every_channel_gets_the_factor_with_the_smallest_error_over_all_batches() -> None:
    batches = batches_of()
    found = observed(batches)
    everything = torch.cat(batches).reshape(-1, 6)
    for channel in range(6):
        errors = [
            error_of(everything[:, channel], found.scale.item() * f, found.zero_point.item()) for f in (1, 2, 4, 8)
        ]
        assert found.exponents[channel].item() == errors.index(min(errors))
    assert len(set(found.exponents.tolist())) > 1


def test_the_last_batch_alone_does_not_decide() -> None:
    small, large = torch.full((1, 40, 2), 0.01), torch.full((1, 40, 2), 0.9)
    first = torch.stack([large[..., 0], torch.ones(1, 40)], -1)
    last = torch.stack([small[..., 0], torch.ones(1, 40)], -1)
    alone, both = observed([torch.cat([last, -last])]), observed([first, -first, last, -last])
    assert both.exponents[0] > 0
    assert alone.exponents[0] == 0


def test_the_smaller_of_equally_good_factors_wins() -> None:
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert observed([x]).exponents[1].item() == 0


def test_images_have_their_channels_on_axis_one() -> None:
    tokens = batches_of()
    images = [batch.movedim(-1, 1).reshape(2, 6, 5, 10) for batch in tokens]
    a, b = observed(tokens), observed(images, channel_axis=1)
    assert a.scale == b.scale
    assert torch.equal(a.exponents, b.exponents)


def test_one_constant_channel_does_no_harm() -> None:
    x = batches_of(1)[0]
    x[..., 2] = 0.125
    found = observed([x])
    assert bool(torch.isfinite(found.channel_scale).all())
    assert bool((found.channel_scale > 0).all())


def test_signed_codes_are_symmetric() -> None:
    found = observed(batches_of(), code_range=CodeRange(8, signed=True))
    assert found.zero_point.item() == 0.0


def test_a_change_of_the_number_of_channels_is_refused() -> None:
    observer = PowerOfTwoFactorObserver(EIGHT)
    x = torch.ones(2, 3)
    observer.observe(x, 0)
    observer.observe(x, 1)
    with pytest.raises(ValueError, match="4 channels, earlier ones had 3"):
        observer.observe(torch.ones(2, 4), 1)
