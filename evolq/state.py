"""An optimizer's state as bytes: plain data and arrays, nothing that could run when it is read back."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

_ARRAY, _TUPLE = "__array__", "__tuple__"


def pack(state: Any) -> bytes:
    """Plain data (dicts with text keys, lists, tuples, numbers, texts, None) with numpy arrays in it, as bytes.

    The plain part as JSON, its length before it, and the arrays' bytes behind it; compressed, for most of it is zeros.

    Raises:
        TypeError: Something else is in it.
    """
    arrays: list[bytes] = []
    text = json.dumps(_encode(state, arrays)).encode()
    return zlib.compress(b"".join([len(text).to_bytes(8, "little"), text, *arrays]), 1)


def unpack(data: bytes) -> Any:
    """The inverse of `pack`, bit for bit: NaN, infinities and dtypes included."""
    raw = memoryview(zlib.decompress(data))
    end = 8 + int.from_bytes(raw[:8], "little")
    return _decode(json.loads(bytes(raw[8:end])), raw[end:])


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """All that decides a generator's further numbers, as plain data."""
    return dict(generator.bit_generator.state)


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator that goes on where `generator_state` was taken."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator


def _encode(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("an array of objects cannot be part of an optimizer's state; keep numbers")
        start = sum(map(len, arrays))
        arrays.append(np.ascontiguousarray(array).tobytes())
        return {_ARRAY: [array.dtype.str, list(array.shape), start]}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of an optimizer's state must be text")
        return {key: _encode(entry, arrays) for key, entry in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_encode(entry, arrays) for entry in value]}
    if isinstance(value, list):
        return [_encode(entry, arrays) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of an optimizer's state; give plain data and numpy arrays")


def _decode(value: Any, raw: memoryview) -> Any:
    if isinstance(value, list):
        return [_decode(entry, raw) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_ARRAY}:
        dtype, shape, start = value[_ARRAY]
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(raw, dtype, count, start).reshape(shape).copy()
    if set(value) == {_TUPLE}:
        return tuple(_decode(entry, raw) for entry in value[_TUPLE])
    return {key: _decode(entry, raw) for key, entry in value.items()}
