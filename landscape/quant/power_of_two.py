"""Power-of-two factors (PTF): one layer scale, and for every channel a factor 1, 2, 4 or 8.

Source: FQ-ViT, Lin et al., IJCAI 2022, arXiv 2111.13824, section 4.1; the observer follows the **released** code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from landscape.quant.observers import Observer
from landscape.quant.qparams import CodeRange, PowerOfTwoQParams, choose_qparams, dequantize, quantize

LARGEST_EXPONENT = 3
"""Factors are 2^0 .. 2^3 (**released**)."""

_CACHED_VALUES = 1 << 15


class PowerOfTwoFactorObserver(Observer):
    """Chooses a layer scale in the first pass and every channel's factor in the second.

    First (**released**): s8 = (max - min) / (qmax - qmin) over all channels and batches,
    zero point = clamp(qmin - round(min / s8)), scale = s8 / 8. A signed code range is symmetric with zero point 0
    (**ours**), as everywhere.
    Second: for every channel the factor 1, 2, 4 or 8 with the smallest squared error, the smaller of equal ones
    (**released**); the error is summed over **all** batches (**ours**; the released code looks at the last one only).

    Args:
        code_range: the codes.
        channel_axis: the channel axis of the batches: -1 for tokens, 1 for images (N, C, H, W).
    """

    passes: ClassVar[int] = 2

    def __init__(self, code_range: CodeRange, *, channel_axis: int = -1) -> None:
        super().__init__()
        self.code_range = code_range
        self.channel_axis = channel_axis
        self.minimum = torch.tensor(float("inf"), dtype=torch.float64)
        self.maximum = torch.tensor(float("-inf"), dtype=torch.float64)
        self._errors = torch.zeros(LARGEST_EXPONENT + 1, 0, dtype=torch.float64)

    def _observe(self, x: Tensor, pass_number: int, bounds: tuple[Tensor, Tensor]) -> None:
        if pass_number == 0:
            self.minimum = torch.minimum(self.minimum, bounds[0])
            self.maximum = torch.maximum(self.maximum, bounds[1])
            return
        rows = x.to("cpu").movedim(self.channel_axis, -1)
        rows = rows.reshape(-1, rows.shape[-1])
        if self._errors.shape[1] == 0:
            self._errors = torch.zeros(LARGEST_EXPONENT + 1, rows.shape[1], dtype=torch.float64)
        if self._errors.shape[1] != rows.shape[1]:
            raise ValueError(f"a batch has {rows.shape[1]} channels, earlier ones had {self._errors.shape[1]}")
        for part in torch.split(rows, max(1, _CACHED_VALUES // rows.shape[1])):
            self._errors += self._squared_errors(part.to(torch.float64))

    def _layer(self) -> tuple[Tensor, Tensor]:
        layer = choose_qparams(self.minimum, self.maximum, self.code_range)
        return layer.scale / 2**LARGEST_EXPONENT, layer.zero_point

    def _squared_errors(self, rows: Tensor) -> Tensor:
        """Squared error of every factor in every channel: (n, channels) -> (4, channels)."""
        scale1, zero_point = self._layer()
        errors = []
        for exponent in range(LARGEST_EXPONENT + 1):
            scale = scale1 * 2**exponent
            values = dequantize(quantize(rows, scale, zero_point, self.code_range), scale, zero_point)
            errors.append(values.sub_(rows).square_().sum(0))
        return torch.stack(errors)

    def qparams(self) -> PowerOfTwoQParams:
        """The chosen parameters."""
        self._check_complete()
        scale, zero_point = self._layer()
        return PowerOfTwoQParams(scale, zero_point, self._errors.argmin(0))
