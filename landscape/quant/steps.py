"""Step tables: an elementwise function followed by a quantizer, as comparisons.

quantize(f(x)) takes finitely many values and changes at finitely many x. With those thresholds tabulated, evaluating
it is a comparison of float64 numbers: the same on every device, for every batch size and instruction set, whatever
that device's own erf or exp may return.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.quant.elementwise import Elementwise, Vector
from landscape.quant.qparams import CodeRange, quantize

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class StepTable:
    """A step function of float64 numbers.

    Attributes:
        thresholds: ascending float64, shape (n,); each is the smallest argument of its step.
        codes: float64, shape (n + 1,); ``codes[i]`` holds for thresholds[i - 1] <= x < thresholds[i].
    """

    thresholds: Tensor
    codes: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Codes at ``x`` (float64, any shape, infinities included; NaN gets the last code)."""
        return self.codes[torch.bucketize(x, self.thresholds, right=True)]

    def to(self, device: torch.device | str) -> StepTable:
        """The same table on another device."""
        return StepTable(self.thresholds.to(device), self.codes.to(device))


def step_table(activation: Elementwise, scale: Tensor, zero_point: Tensor, code_range: CodeRange) -> StepTable:
    """Tabulate x -> quantize(f(x), scale, zero_point).

    Between two turning points the codes are monotone, so each change is found by bisection; all changes at once, over
    the ordered bit patterns of float64, until two neighbouring numbers enclose it (at most 64 evaluations). At every
    threshold and at its lower neighbour the table equals the direct evaluation. Where the rounding noise of f makes the
    direct evaluation flicker for a few neighbouring numbers, the table has one clean step among them; the table is
    the definition.

    Args:
        activation: the function f and its turning points.
        scale: positive float64, shape ().
        zero_point: integer-valued float64, shape ().
        code_range: the codes.

    Returns:
        The table, on the CPU.

    Raises:
        ValueError: if ``scale`` is not a positive finite scalar.
    """
    if scale.ndim or not (0.0 < float(scale) < float("inf")):
        raise ValueError(f"scale is {scale}; expected a positive finite scalar")
    scale, zero_point = scale.detach().to("cpu", torch.float64), zero_point.detach().to("cpu", torch.float64)

    def codes_at(keys: Keys) -> Vector:
        # Arguments reach the largest float64; an overflow saturates to the last code, as it should.
        with np.errstate(over="ignore", under="ignore"):
            values = torch.from_numpy(activation.function(_float_of(keys)))
        codes: Vector = quantize(values, scale, zero_point, code_range).numpy()
        return codes

    turns = _key_of(np.asarray(activation.turning_points, dtype=np.float64))
    largest = _key_of(np.array([np.finfo(np.float64).max]))
    starts, ends = np.concatenate([-largest, turns + 1]), np.concatenate([turns, largest])
    first, last = codes_at(starts), codes_at(ends)

    piece, target = _crossings(first, last)
    rising = (last > first)[piece]
    low, high = starts[piece], ends[piece]
    for _ in range(64):
        middle = (low & high) + ((low ^ high) >> 1)  # the mean rounded down, without overflow
        codes = codes_at(middle)
        reached = np.where(rising, codes >= target, codes <= target)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)

    jumps = starts[1:][first[1:] != last[:-1]]
    keys = np.unique(np.concatenate([high, jumps]))
    return StepTable(torch.from_numpy(_float_of(keys)), torch.from_numpy(np.concatenate([first[:1], codes_at(keys)])))


def _crossings(first: Vector, last: Vector) -> tuple[NDArray[np.intp], Vector]:
    """For every code passed between first[i] (excluded) and last[i] (included): the piece i and the code."""
    direction = np.sign(last - first)
    pieces = [np.full(int(abs(b - a)), i, dtype=np.intp) for i, (a, b) in enumerate(zip(first, last, strict=True))]
    targets = [a + d * np.arange(1.0, p.size + 1.0) for a, d, p in zip(first, direction, pieces, strict=True)]
    return np.concatenate(pieces), np.concatenate(targets)


def _key_of(x: Vector) -> Keys:
    """Integers in the order of the float64 numbers: neighbours differ by one, -x has the key of x negated."""
    magnitude = np.abs(x).view(np.int64)
    return np.where(np.signbit(x), -magnitude, magnitude)


def _float_of(keys: Keys) -> Vector:
    """The float64 numbers of ``_key_of``."""
    return np.copysign(np.abs(keys).view(np.float64), keys.astype(np.float64))
