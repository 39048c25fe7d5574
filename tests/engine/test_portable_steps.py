from __future__ import annotations

import pytest
import torch

from landscape.engine.portable.steps import CELLS, CellTable
from landscape.quant.elementwise import activation_function
from landscape.quant.qparams import CodeRange
from landscape.quant.steps import StepTable, step_table

_LARGEST = torch.finfo(torch.float64).max


def _arguments(thresholds: torch.Tensor) -> torch.Tensor:
    """The thresholds, their neighbours, numbers all over and beyond, and what is no number."""
    infinity = torch.full_like(thresholds, torch.inf)
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.randn(50_000, generator=generator, dtype=torch.float64) * 10.0
    ends = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, _LARGEST, -_LARGEST, 1e-300], dtype=torch.float64)
    near = [thresholds, thresholds.nextafter(infinity), thresholds.nextafter(-infinity)]
    return torch.cat([*near, everywhere, everywhere * 1e-4, ends])


@pytest.mark.parametrize("name", ["gelu", "silu", "relu6", "hardswish", "tanh", "elu"])
@pytest.mark.parametrize("scale", [1e-6, 0.02, 3.0])
@pytest.mark.parametrize("bits", [2, 8])
def test_cells_give_the_codes_of_the_table(name: str, scale: float, bits: int) -> None:
    numbers = (torch.tensor(scale).double(), torch.tensor(3.0).double())
    steps = step_table(activation_function(name), *numbers, CodeRange(bits))
    x = _arguments(steps.thresholds)
    assert torch.equal(CellTable(steps)(x).double(), steps(x))


@pytest.mark.parametrize(
    "thresholds",
    [[], [0.3], [0.3, 0.3 + 1e-16], [-_LARGEST, 0.0, _LARGEST], [-1e-320, 1e-320], [-1.0, 1.0, 1e200], [5.0, 5.1]],
)
def test_thresholds_of_every_kind(thresholds: list[float]) -> None:
    ascending = torch.tensor(sorted(set(thresholds)), dtype=torch.float64)
    codes = torch.arange(len(ascending) + 1, dtype=torch.float64) * 7.0
    x = _arguments(ascending)
    assert torch.equal(CellTable(StepTable(ascending, codes))(x).double(), StepTable(ascending, codes)(x))


def test_few_numbers_have_to_be_searched_for() -> None:
    """265 thresholds and 16,384 cells: of numbers all over the range a sixtieth."""
    one = torch.tensor(1.0, dtype=torch.float64)
    table = CellTable(step_table(activation_function("gelu"), one * 0.02, one * 10.0, CodeRange(8)))
    searched: list[int] = []
    table.steps = lambda x: searched.append(x.numel()) or torch.zeros_like(x)  # type: ignore[assignment, func-returns-value]
    table(torch.linspace(-1.0, 4.5, 100_000, dtype=torch.float64).reshape(2, 100, 500))
    assert sum(searched) < 100_000 * 2 * 265 / CELLS
