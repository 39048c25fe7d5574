"""How a run lies in its database: tables, JSON and arrays (ours).

A later layout adds tables and raises ``SCHEMA_VERSION``; what older releases wrote stays readable.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from landscape.store.folder import APPLICATION_ID, SCHEMA_VERSION

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"

# `value` and `seconds` have no declared type: in a REAL column SQLite would store -0.0 as 0. NaN it stores as NULL.
_TABLES = f"""
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE arrays (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE points (id INTEGER PRIMARY KEY, coordinates BLOB NOT NULL, seconds);
CREATE TABLE point_values (point INTEGER NOT NULL, name TEXT NOT NULL, value, UNIQUE (point, name));
CREATE TABLE point_images (point INTEGER NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (point, name));
"""
TRAJECTORY_TABLES = (
    "CREATE TABLE IF NOT EXISTS trajectories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, about TEXT NOT NULL, "
    "state BLOB, static BLOB, result TEXT)",
    "CREATE TABLE IF NOT EXISTS steps (trajectory INTEGER NOT NULL, step INTEGER NOT NULL, cost, value, best, seconds, "
    "block INTEGER NOT NULL, accepted INTEGER NOT NULL, images INTEGER NOT NULL, coordinates BLOB, "
    "UNIQUE (trajectory, step))",
)
"""Since layout 2; made with the first trajectory of a run."""

_MAX_ARRAY_BYTES = 1_000_000_000  # SQLite's limit for a row, less than which the array's own row must stay
_SHOWN_CHARACTERS = 60


def lay_out(
    connection: sqlite3.Connection, settings: Mapping[str, JSON], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Make the tables of a new run in an empty database and keep its settings and fixed arrays."""
    connection.executescript(_TABLES)
    put_meta(connection, "settings", settings)
    put_meta(connection, "created", now())
    for name, array in arrays.items():
        put_array(connection, name, array)
    connection.execute("COMMIT")


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def canonical(value: JSON) -> str:
    """The one JSON text of ``value``: sorted keys, no spaces, floats to their last bit.

    Raises:
        ValueError: For NaN and infinity, which JSON does not have.
        TypeError: For anything that is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Where two JSON values differ, as ``key.inner[3]: old there, new here``; keys in sorted order.

    Args:
        old: What is stored, as JSON gives it back.
        new: What is asked for, as JSON gives it back.
        path: The key of the two values, empty at the top.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            if key in old and key in new:
                yield from differences(old[key], new[key], inner)
            else:
                yield _difference(inner, *(_shown(side[key]) if key in side else "not set" for side in (old, new)))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (old_entry, new_entry) in enumerate(zip(old, new, strict=True)):
            yield from differences(old_entry, new_entry, f"{path}[{position}]")
    elif canonical(old) != canonical(new):  # tells True from 1 and 1.0 from 1, which == does not
        yield _difference(path, _shown(old), _shown(new))


def _difference(path: str, old: str, new: str) -> str:
    return f"{path}: {old} in the run, {new} asked for"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    text = canonical(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def put_meta(connection: sqlite3.Connection, key: str, value: JSON) -> None:
    """Insert or replace one meta entry."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, canonical(value)))


def put_array(connection: sqlite3.Connection, name: str, array: npt.NDArray[Any]) -> None:
    """Insert one fixed array.

    Raises:
        ValueError: For a name in use, a dtype of Python objects or records, or an array too large.
    """
    if array.dtype.kind in "OV":
        raise ValueError(f"array {name!r} has dtype {array.dtype}, expected numbers, booleans, dates or strings")
    if array.nbytes >= _MAX_ARRAY_BYTES:
        raise ValueError(f"array {name!r} takes {array.nbytes} bytes, expected less than {_MAX_ARRAY_BYTES}")
    if connection.execute("SELECT 1 FROM arrays WHERE name = ?", (name,)).fetchone():
        raise ValueError(f"array {name!r} is stored already")
    row = (name, array.dtype.str, json.dumps(array.shape), array.tobytes())
    connection.execute("INSERT INTO arrays VALUES (?, ?, ?, ?)", row)


def to_array(dtype: str, shape: str, data: bytes) -> npt.NDArray[Any]:
    """The array of a row of ``arrays``, in C order, writable."""
    return np.ndarray(json.loads(shape), dtype, buffer=bytearray(data))
