"""An optimizer's state as bytes: plain data and arrays, nothing that could run when it is read back."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

_ARRAY, _TUPLE = "__array__", "__tuple__"


def pack(state: Any) -> bytes:
    """Plain data (dicts with text keys, lists, tuples, numbers, texts, None) with numpy arrays in it, as bytes.

    Raises:
        TypeError: Something else is in it.
    """
    return zlib.compress(json.dumps(_encode(state)).encode(), 1)


def unpack(data: bytes) -> Any:
    """The inverse of `pack`, bit for bit: NaN, infinities and dtypes included."""
    return _decode(json.loads(zlib.decompress(data)))


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """All that decides a generator's further numbers, as plain data."""
    return dict(generator.bit_generator.state)


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """A generator that goes on where `generator_state` was taken."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of objects cannot be part of an optimizer's state; keep numbers")
        text = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: [value.dtype.str, list(value.shape), text]}
    if isinstance(value, np.generic):
        return _encode(np.asarray(value))
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of an optimizer's state must be text")
        return {key: _encode(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_encode(entry) for entry in value]}
    if isinstance(value, list):
        return [_encode(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of an optimizer's state; give plain data and numpy arrays")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_ARRAY}:
        dtype, shape, text = value[_ARRAY]
        return np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
    if set(value) == {_TUPLE}:
        return tuple(_decode(entry) for entry in value[_TUPLE])
    return {key: _decode(entry) for key, entry in value.items()}
