from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.quant.square_root import square_root


def nearest(integer: int) -> float:
    """The float64 number nearest to the root of an integer, by integer arithmetic."""
    shift = max(0, 2 * 60 - integer.bit_length())
    shift += shift % 2
    root = isqrt(integer << shift)  # 60 bits and more: where the rest decides, it is not zero
    exact = (root << 1) | int(root * root != integer << shift)
    return float(np.ldexp(1.0, -shift // 2 - 1)) * float(exact)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 2**53), min_size=1, max_size=40))
def test_square_roots_are_those_nearest_to_the_real_ones(numbers: list[int]) -> None:
    actual = square_root(torch.tensor(numbers, dtype=torch.float64))
    assert actual.tolist() == [nearest(number) for number in numbers]


def test_square_roots_of_zero_and_of_negative_numbers() -> None:
    actual = square_root(torch.tensor([0.0, -1.0, float("inf")], dtype=torch.float64))
    assert actual[0] == 0.0 and bool(actual[1].isnan()) and actual[2] == float("inf")
    assert square_root(torch.tensor(4.0, dtype=torch.float64)).shape == ()
