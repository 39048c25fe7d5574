"""Observers: they see the calibration data batch by batch and choose quantization parameters from it.

Memory is bounded by one batch. Activations are observed per tensor; weights are whole at once and need no observer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from landscape.quant.qparams import CodeRange, PowerOfTwoQParams, QParams, choose_qparams


class Observer(ABC):
    """Chooses the parameters of one quantizer from batches of the values it will quantize.

    Every batch is shown once in each of the ``passes``: ``observe(batch, 0)`` for all batches, then
    ``observe(batch, 1)`` for all of them again if ``passes`` is 2, then ``qparams()``.
    """

    passes: ClassVar[int] = 1
    code_range: CodeRange

    def __init__(self) -> None:
        self._passes_begun = 0

    def observe(self, x: Tensor, pass_number: int = 0) -> None:
        """Take one batch into account.

        Args:
            x: a non-empty batch of values, any shape and floating dtype.
            pass_number: 0, or 1 in the second pass of observers that need one.

        Raises:
            ValueError: if ``x`` is empty, holds NaN or infinity, or the passes come out of order.
        """
        if not 0 <= pass_number < self.passes:
            raise ValueError(f"there is no pass {pass_number}: {type(self).__name__} has {self.passes}, from 0")
        if pass_number not in (self._passes_begun - 1, self._passes_begun):
            raise ValueError(f"pass {pass_number} came after {self._passes_begun} passes; expected them in order")
        bounds = finite_bounds(x)
        self._passes_begun = pass_number + 1
        self._observe(x.detach(), pass_number, bounds)

    @abstractmethod
    def qparams(self) -> QParams | PowerOfTwoQParams:
        """The chosen parameters.

        Raises:
            ValueError: if the last pass has not seen any batch.
        """

    @abstractmethod
    def _observe(self, x: Tensor, pass_number: int, bounds: tuple[Tensor, Tensor]) -> None:
        """Take into account a batch that is finite, with the given smallest and largest value."""

    def _check_complete(self) -> None:
        if self._passes_begun < self.passes:
            raise ValueError(f"{type(self).__name__} has seen no batch in pass {self._passes_begun}")


class MinMaxObserver(Observer):
    """The smallest and largest value of all batches (**released**).

    Args:
        code_range: the codes.
        include_zero: widen the range to hold zero, see ``choose_qparams`` (**ours**).
    """

    def __init__(self, code_range: CodeRange, *, include_zero: bool = False) -> None:
        super().__init__()
        self.code_range = code_range
        self.include_zero = include_zero
        self.minimum = torch.tensor(float("inf"), dtype=torch.float64)
        self.maximum = torch.tensor(float("-inf"), dtype=torch.float64)

    def _observe(self, x: Tensor, pass_number: int, bounds: tuple[Tensor, Tensor]) -> None:
        self.minimum = torch.minimum(self.minimum, bounds[0])
        self.maximum = torch.maximum(self.maximum, bounds[1])

    def qparams(self) -> QParams:
        """The chosen parameters."""
        self._check_complete()
        return choose_qparams(self.minimum, self.maximum, self.code_range, include_zero=self.include_zero)


class EMAObserver(Observer):
    """Moving average of the batches' extremes (**released**): the first batch sets them, then m += sigma (batch - m).

    The result depends on the order and the size of the batches.

    Args:
        code_range: the codes.
        sigma: weight of a new batch.
        include_zero: widen the range to hold zero, see ``choose_qparams`` (**ours**).
    """

    def __init__(self, code_range: CodeRange, *, sigma: float = 0.01, include_zero: bool = False) -> None:
        super().__init__()
        if not 0.0 < sigma <= 1.0:
            raise ValueError(f"sigma is {sigma}; expected 0 < sigma <= 1")
        self.code_range = code_range
        self.sigma = sigma
        self.include_zero = include_zero
        self.bounds: tuple[Tensor, ...] = ()

    def _observe(self, x: Tensor, pass_number: int, bounds: tuple[Tensor, Tensor]) -> None:
        current = self._batch_bounds(x, bounds)
        old = self.bounds or current
        self.bounds = tuple(o + self.sigma * (c - o) for o, c in zip(old, current, strict=True))

    def _batch_bounds(self, x: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return bounds

    def qparams(self) -> QParams:
        """The chosen parameters."""
        self._check_complete()
        minimum, maximum = self.bounds
        return choose_qparams(minimum, maximum, self.code_range, include_zero=self.include_zero)


class PercentileObserver(EMAObserver):
    """Moving average of the batches' quantiles 1 - alpha and alpha, linearly interpolated (**released**).

    Args:
        code_range: the codes.
        alpha: the upper quantile, above one half.
        sigma: weight of a new batch.
        include_zero: widen the range to hold zero, see ``choose_qparams`` (**ours**).
    """

    def __init__(
        self, code_range: CodeRange, *, alpha: float = 0.99999, sigma: float = 0.01, include_zero: bool = False
    ) -> None:
        super().__init__(code_range, sigma=sigma, include_zero=include_zero)
        if not 0.5 < alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}; expected 0.5 < alpha <= 1")
        self.alpha = alpha

    def _batch_bounds(self, x: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        # Many versions of torch.quantile refuse more than 2^24 values, and it sorts; numpy selects.
        values = x.to("cpu", torch.float64).numpy()
        low, high = torch.from_numpy(np.quantile(values, [1.0 - self.alpha, self.alpha]))
        return low, high


def minmax_weight(weight: Tensor, code_range: CodeRange, *, include_zero: bool = False) -> QParams:
    """MinMax parameters of a weight, one scale and zero point per output channel (**released**).

    Args:
        weight: shape (out, ...), any floating dtype.
        code_range: the codes.
        include_zero: widen each range to hold zero, see ``choose_qparams`` (**ours**).

    Returns:
        Parameters of shape (out,).

    Raises:
        ValueError: if the weight has no value per channel, or holds NaN or infinity.
    """
    rows = weight_rows(weight)
    return choose_qparams(rows.amin(1), rows.amax(1), code_range, include_zero=include_zero)


def weight_rows(weight: Tensor) -> Tensor:
    """A weight (out, ...) as float64 rows (out, values per output channel); checked to be finite and not empty."""
    if weight.ndim < 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected (out, ...)")
    finite_bounds(weight)
    return weight.detach().to(torch.float64).reshape(weight.shape[0], -1)


def finite_bounds(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value, float64 on the CPU.

    Raises:
        ValueError: if ``x`` is empty or holds NaN or infinity.
    """
    if x.numel() == 0:
        raise ValueError(f"tensor of shape {tuple(x.shape)} is empty; expected at least one value")
    low, high = (bound.to("cpu", torch.float64) for bound in torch.aminmax(x.detach()))
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        kind = "NaN" if bool(torch.isnan(low)) else "infinity"
        raise ValueError(f"tensor of shape {tuple(x.shape)} holds {kind}; expected finite values")
    return low, high
