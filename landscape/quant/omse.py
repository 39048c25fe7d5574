"""OMSE: of 90 shrunken copies of the MinMax range, the one with the smallest squared error (**released** search)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.quant.observers import MinMaxObserver, weight_rows
from landscape.quant.qparams import CodeRange, QParams, choose_qparams, dequantize, quantize

SHRINK_STEPS = 90
"""Candidate i scales both ends of the MinMax range by 1 - 0.01 i, i = 0..89 (**released**)."""

_CACHED_VALUES = 1 << 15
"""Values worked on at a time: their temporaries stay in a core's own cache."""

_MIN_BINS, _MAX_BINS, _BINS_PER_CODE = 1 << 14, 1 << 20, 64


class OMSEObserver(MinMaxObserver):
    """Squared-error search for activations: the first pass finds the range, the second how far to shrink it.

    The released code scores the candidates on the *last* calibration batch only; this scores them on **all** batches
    (**ours**). The first of equal candidates wins (**released**).

    Memory and time are bounded by a histogram: ``bins`` bins of width h over the range, each with its count and sum,
    and the total sum of squares. With all values of a bin on one code v the error is exact,
    sum x^2 - 2 v sum x + n v^2. In a bin that holds a rounding boundary all values get the code of the bin's mean; a
    value on the wrong side, at most h from the boundary, is charged at most 2 s h too much. The error of a candidate of
    scale s is therefore never underestimated, and overestimated by at most 2 s h times the number of values in such
    bins; for a smooth distribution by about h^2 / 12 a value, where rounding itself costs s^2 / 12. There are at least
    64 bins per code up to 14 bits, 16 above.

    Args:
        code_range: the codes.
        include_zero: widen the range to hold zero before shrinking, see ``choose_qparams`` (**ours**).
    """

    passes: ClassVar[int] = 2

    def __init__(self, code_range: CodeRange, *, include_zero: bool = False) -> None:
        super().__init__(code_range, include_zero=include_zero)
        self.bins = min(max(_MIN_BINS, _BINS_PER_CODE * (code_range.steps + 1)), _MAX_BINS)
        self._counts: NDArray[np.float64] = np.zeros(self.bins)
        self._sums: NDArray[np.float64] = np.zeros(self.bins)
        self._sum_of_squares = 0.0

    def _observe(self, x: Tensor, pass_number: int, bounds: tuple[Tensor, Tensor]) -> None:
        if pass_number == 0:
            super()._observe(x, pass_number, bounds)
            return
        values = x.to("cpu", torch.float64).reshape(-1).numpy()
        for start in range(0, values.size, 2 * _CACHED_VALUES):
            self._count(values[start : start + 2 * _CACHED_VALUES])

    def _count(self, values: NDArray[np.float64]) -> None:
        low, width = float(self.minimum), float(self.maximum - self.minimum)
        # Clipping keeps a value in the histogram that a second forward pass moved past the range by a rounding error.
        position = (values - low) * (self.bins / width) if width > 0.0 else np.zeros_like(values)
        index = np.clip(position, 0, self.bins - 1).astype(np.intp)
        self._counts += np.bincount(index, minlength=self.bins)
        self._sums += np.bincount(index, weights=values, minlength=self.bins)
        self._sum_of_squares += float(np.dot(values, values))

    def squared_errors(self) -> Tensor:
        """Sum over all observed values of the squared quantization error, for each candidate; shape (90,), float64."""
        occupied = self._counts > 0
        counts, sums = (torch.from_numpy(bins[occupied]) for bins in (self._counts, self._sums))
        means = sums / counts
        candidates = self._candidates()
        errors = torch.empty(SHRINK_STEPS, dtype=torch.float64)
        for i, (scale, zero_point) in enumerate(zip(candidates.scale, candidates.zero_point, strict=True)):
            values = dequantize(quantize(means, scale, zero_point, self.code_range), scale, zero_point)
            errors[i] = self._sum_of_squares + (values * (counts * values - 2.0 * sums)).sum()
        return errors

    def _candidates(self) -> QParams:
        low, high = self.minimum, self.maximum
        if self.include_zero:
            low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        return _shrunken_ranges(low, high, self.code_range)

    def qparams(self) -> QParams:
        """The chosen parameters."""
        self._check_complete()
        best = int(self.squared_errors().argmin())
        candidates = self._candidates()
        return QParams(candidates.scale[best], candidates.zero_point[best])


def omse_weight(
    weight: Tensor, code_range: CodeRange, *, shared_ratio: bool = False, include_zero: bool = False
) -> QParams:
    """Squared-error search for a weight, one scale and zero point per output channel.

    Every candidate is evaluated on every value. The first of equal candidates wins.

    Args:
        weight: shape (out, ...), any floating dtype.
        code_range: the codes.
        shared_ratio: one shrink ratio for all channels, the best for the whole layer (**released**), instead of the
            best one for each channel (**ours**).
        include_zero: widen each range to hold zero before shrinking, see ``choose_qparams`` (**ours**).

    Returns:
        Parameters of shape (out,).

    Raises:
        ValueError: if the weight has no value per channel, or holds NaN or infinity.
    """
    rows = weight_rows(weight)
    low, high = rows.amin(1), rows.amax(1)
    if include_zero:
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    candidates = _shrunken_ranges(low, high, code_range)
    height = max(1, _CACHED_VALUES // rows.shape[1])
    errors = torch.cat(
        [
            _squared_errors(
                rows[start : start + height],
                candidates.scale[:, start : start + height],
                candidates.zero_point[:, start : start + height],
                code_range,
            )
            for start in range(0, rows.shape[0], height)
        ],
        dim=1,
    )
    best = errors.sum(1).argmin().expand(rows.shape[0]) if shared_ratio else errors.argmin(0)
    channels = torch.arange(rows.shape[0], device=rows.device)
    return QParams(candidates.scale[best, channels], candidates.zero_point[best, channels])


def _shrunken_ranges(minimum: Tensor, maximum: Tensor, code_range: CodeRange) -> QParams:
    """Parameters of the 90 candidates, shape (90, *minimum.shape)."""
    ratios = 1.0 - 0.01 * torch.arange(SHRINK_STEPS, dtype=torch.float64, device=minimum.device)
    ratios = ratios.reshape(-1, *[1] * minimum.ndim)
    return choose_qparams(ratios * minimum, ratios * maximum, code_range)


def _squared_errors(rows: Tensor, scale: Tensor, zero_point: Tensor, code_range: CodeRange) -> Tensor:
    """Squared error of each candidate on each row: rows (n, k), parameters (candidates, n) -> (candidates, n)."""
    errors = torch.empty_like(scale)
    for i, (s, z) in enumerate(zip(scale.unsqueeze(-1), zero_point.unsqueeze(-1), strict=True)):
        difference = dequantize(quantize(rows, s, z, code_range), s, z).sub_(rows)
        errors[i] = difference.square_().sum(1)
    return errors
