"""Step tables looked up by cells: where compiled kernels are not to be had, and for functions that they do not know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.quant.steps import StepTable

CELLS = 2**14
"""Between the first threshold and the last: a table that stays in the nearest cache, with few cells cut in two."""

_UNDECIDED = -1


class CellTable:
    """The codes of a step table, mostly without a search.

    The number of a cell is found by operations that are monotone even as rounded: of two arguments the larger one never
    has the smaller number. So the thresholds of lower cells lie below an argument, and those of higher cells above it;
    only where a threshold lies in the argument's own cell does the table have to be searched.

    Args:
        steps: The table; its codes are those of at most 8 bits.
    """

    def __init__(self, steps: StepTable) -> None:
        self.steps = steps
        thresholds = steps.thresholds
        self._first = float(thresholds[0]) if len(thresholds) else 0.0
        span = float(thresholds[-1]) - self._first if len(thresholds) else 1.0
        self._inverse = (CELLS - 2) / max(span, 1e-300)
        here = torch.bincount(self._cells(thresholds), minlength=CELLS)
        codes = steps.codes[here.cumsum(0) - here]
        undecided = (here > 0) | (not math.isfinite(span))
        self._codes = torch.where(undecided, float(_UNDECIDED), codes).to(torch.int16)

    def _cells(self, x: Tensor) -> Tensor:
        """int32; NaN lies in the cell of the last threshold, and so is searched for, as it is where there are none."""
        cells = (x - self._first).mul_(self._inverse).add_(1.0).clamp_(0.0, CELLS - 1.0)
        return cells.nan_to_num_(CELLS - 1.0).to(torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        """Codes uint8 of float64 numbers."""
        found = self._codes.index_select(0, self._cells(x).reshape(-1))
        codes = found.to(torch.uint8).reshape(x.shape)
        undecided = (found < 0).nonzero().squeeze(1)
        if len(undecided):
            codes.view(-1)[undecided] = self.steps(x.reshape(-1)[undecided]).to(torch.uint8)
        return codes
