"""The quantizer of a node, and a clamp before it, as the kernels need them, and how doubtful codes are settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from landscape.engine.portable.values import Bytes
from landscape.quant.network import ActivationQuantizer
from landscape.quant.qparams import CodeRange, quantize

_MOST_PREPARED = 64
"""Kernels' parameters that a quantizer holds: candidates in which scales before it move each need their own."""


@dataclass(frozen=True)
class Target:
    """A quantizer whose channels, if it has factors, lie along the last axis.

    Attributes:
        scale: float64 () or, with factors, (C,): the scale times 2^exponent.
        zero_point: float64 ().
        code_range: Of the codes.
        step: The scale without factors.
        factors: float32 (C,) or None.
        inverse: float32 (), 1 / step.
        zero: float32 ().
        highest: float32 (), the largest code.
        ends: float32 (), the smallest code and the largest.
        prepared: What kernels have prepared for values of some scale, see `once`.
    """

    scale: Tensor
    zero_point: Tensor
    code_range: CodeRange
    step: float
    factors: Tensor | None
    inverse: Tensor
    zero: Tensor
    highest: Tensor
    ends: tuple[Tensor, Tensor]
    prepared: dict[Any, tuple[Any, tuple[Tensor, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Any, kept: Any, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Parameters of a kernel, made when they are first asked for.

        Args:
            key: What they depend on, besides this quantizer: numbers, and identities of objects.
            kept: Those objects; holding them, no other can come to have their identity.
            make: Makes them.
        """
        if key not in self.prepared:
            if len(self.prepared) >= _MOST_PREPARED:
                del self.prepared[next(iter(self.prepared))]  # the oldest
            self.prepared[key] = kept, make()
        return self.prepared[key][1]

    def number(self, value: float) -> Tensor:
        """float32 (), on this device."""
        return torch.tensor(value, dtype=torch.float32, device=self.scale.device)

    def exact(self, value: Tensor) -> Tensor:
        """Codes uint8 of float64 values (..., C)."""
        codes = quantize(value, self.scale, self.zero_point, self.code_range)
        return torch.minimum(torch.maximum(codes, self.ends[0]), self.ends[1]).to(torch.uint8)

    def value(self, codes: Tensor) -> Bytes:
        """Codes as the value of the node."""
        return Bytes(codes, int(self.zero_point), self.step, self.factors)


def target(quantizer: ActivationQuantizer, ends: tuple[float, float] | None = None) -> Target:
    """A quantizer's parameters, on its device, for values whose channels were moved to the last axis if need be.

    Args:
        quantizer: Of a node.
        ends: The smallest code and the largest, where an activation function before it clamps.
    """
    device, quantizer = quantizer.scale.device, replace(quantizer, channel_axis=-1)
    factors, code_range = quantizer.factors(1), CodeRange(quantizer.bits)

    lowest, highest = ends or (0.0, float(code_range.qmax))
    return Target(
        scale=quantizer.scale if factors is None else quantizer.scale * factors,
        zero_point=quantizer.zero_point,
        code_range=code_range,
        step=float(quantizer.scale),
        factors=None if factors is None else factors.float(),
        inverse=(1.0 / quantizer.scale).float(),
        zero=quantizer.zero_point.float(),
        highest=torch.tensor(highest, device=device),
        ends=(torch.tensor(lowest, device=device), torch.tensor(highest, device=device)),
    )


FEW = 4
"""Rows that are not worth a compiled kernel; a single one would even be compiled for anew."""


def settle(fast: tuple[Tensor, Tensor], exact: Callable[[tuple[Tensor, ...]], Tensor]) -> Tensor:
    """Codes, the doubtful rows among them computed anew.

    Args:
        fast: Codes (..., C) and doubtful rows (...), where they are not 0: from the kernels of `float32` and `float64`.
        exact: Codes (n, C) of n rows, given by the index of each along the leading axes.

    Returns:
        The codes, changed in place.
    """
    codes, doubtful = fast
    indices = doubtful.nonzero()
    if indices.shape[0]:
        where = indices.unbind(1)
        codes[where] = exact(where)
    return codes
