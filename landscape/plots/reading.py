"""Plain data back to the dataclasses that it was made of, by their type hints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np


def read(hint: Any, value: Any) -> Any:
    """A value of that type from what JSON holds: lists become tuples or arrays, a missing number NaN.

    A field that an older file lacks has its default.

    Raises:
        KeyError: A field of a dataclass is missing that has none.
        TypeError, ValueError: The data are of another form.
    """
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        there = [field for field in fields(hint) if field.name in value or _required(field)]
        return hint(**{field.name: read(hints[field.name], value[field.name]) for field in there})
    origin, parts = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None else read(next(part for part in parts if part is not type(None)), value)
    if origin is np.ndarray:
        (kind,) = get_args(parts[1])
        return np.array(value, dtype=object).astype(kind)  # None becomes NaN
    if origin is tuple:
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(read(part, entry) for part, entry in zip(each, value, strict=True))
    if origin is Mapping:
        return {key: read(parts[1], entry) for key, entry in value.items()}
    return float("nan") if hint is float and value is None else value


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
