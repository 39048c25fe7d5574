"""An optimizer's state as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolq.state import generator_state, pack, restore_generator, unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    again = unpack(pack(value))
    assert again == value and type(again) is type(value)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "?", "i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_come_back_bit_for_bit(dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    again = unpack(pack({"one": array, "two": [array, array]}))
    for found in (again["one"], *again["two"]):
        assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()
        assert found.flags.writeable


def test_special_numbers_come_back_bit_for_bit():
    special = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324, 1 / 3])
    assert unpack(pack(special)).tobytes() == special.tobytes()
    assert np.isnan(unpack(pack(float("nan"))))


def test_a_generator_goes_on_where_it_was():
    generator = np.random.default_rng(3)
    generator.standard_normal(7)
    again = restore_generator(unpack(pack(generator_state(generator))))
    assert again.standard_normal(5).tobytes() == generator.standard_normal(5).tobytes()


@pytest.mark.parametrize("bad", [object(), {1: 2}, np.array([object()]), {"set": {1}}])
def test_what_is_no_plain_data_is_refused(bad):
    with pytest.raises(TypeError):
        pack(bad)
