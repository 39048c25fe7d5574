"""The points of a run: one row each, its aggregate values, and its per-image values (ours)."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_FLOAT64 = np.dtype("<f8")


def put_point(
    connection: sqlite3.Connection,
    index: int,
    coordinates: Sequence[float],
    values: Mapping[str, float],
    per_image: Mapping[str, npt.NDArray[Any]],
    seconds: float,
) -> None:
    """Insert one point; see :meth:`landscape.store.RunStore.save_point`. The caller holds the transaction."""
    index = operator.index(index)
    if index < 0:
        raise ValueError(f"point index is {index}, expected 0 or more")
    if connection.execute("SELECT 1 FROM points WHERE id = ?", (index,)).fetchone():
        raise ValueError(f"point {index} is stored already")
    place = _to_float64("coordinates", coordinates)
    images = {name: _to_float64(name, array) for name, array in per_image.items()}
    _check_names(values, len(place))
    _check_form(connection, len(place), values, images)
    connection.execute("INSERT INTO points VALUES (?, ?, ?)", (index, place.tobytes(), float(seconds)))
    connection.executemany(
        "INSERT INTO point_values VALUES (?, ?, ?)", [(index, name, float(value)) for name, value in values.items()]
    )
    connection.executemany(
        "INSERT INTO point_images VALUES (?, ?, ?)", [(index, name, array.tobytes()) for name, array in images.items()]
    )


def _to_float64(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected one axis")
    return array.astype(_FLOAT64, casting="safe")  # a TypeError for what float64 does not hold


def _check_names(values: Mapping[str, float], axes: int) -> None:
    taken = {"index", "seconds", *(f"coordinate_{axis}" for axis in range(axes))} & values.keys()
    if taken:
        raise ValueError(f"values may not be named {sorted(taken)}, which every table of points has as columns")


def _check_form(
    connection: sqlite3.Connection,
    axes: int,
    values: Mapping[str, float],
    images: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    row = connection.execute("SELECT id, LENGTH(coordinates) FROM points LIMIT 1").fetchone()
    if row is None:
        return
    point, place_bytes = row
    value_names = connection.execute("SELECT name FROM point_values WHERE point = ? ORDER BY name", (point,))
    image_bytes = connection.execute("SELECT name, LENGTH(data) FROM point_images WHERE point = ?", (point,))
    stored = {
        "coordinates": place_bytes // _FLOAT64.itemsize,
        "values": [name for (name,) in value_names],
        "images": {name: size // _FLOAT64.itemsize for name, size in sorted(image_bytes)},
    }
    given = {
        "coordinates": axes,
        "values": sorted(values),
        "images": {name: len(array) for name, array in sorted(images.items())},
    }
    if given != stored:
        raise ValueError(f"point has {given}, expected those of the points stored before, {stored}")


VALUES_QUERY = """
SELECT id, coordinates, seconds, name, value FROM points LEFT JOIN point_values ON point = id
ORDER BY id, point_values.rowid
"""


def to_table(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows of ``VALUES_QUERY`` as one row a point; see :meth:`landscape.store.RunStore.values`."""
    records: dict[int, dict[str, float]] = {}
    for index, place, seconds, name, value in rows:
        if index not in records:
            axes = np.frombuffer(place, _FLOAT64).tolist()
            records[index] = {"index": index} | {f"coordinate_{axis}": x for axis, x in enumerate(axes)}
            records[index]["seconds"] = _from_sql(seconds)
        if name is not None:
            records[index][name] = _from_sql(value)
    columns = list(next(iter(records.values()), {"index": 0, "seconds": 0.0}))
    columns.append(columns.pop(columns.index("seconds")))
    table = pd.DataFrame(list(records.values()), columns=columns)
    return table.astype({name: np.int64 if name == "index" else np.float64 for name in columns})


def _from_sql(number: float | None) -> float:
    return float("nan") if number is None else number  # SQLite gives NaN back as NULL


def to_matrix(rows: Sequence[tuple[int, bytes]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows of (point, data) as indices, shape (points,), and values, shape (points, images)."""
    indices = np.array([index for index, _ in rows], dtype=np.int64)
    images = [np.frombuffer(data, _FLOAT64) for _, data in rows]
    return indices, np.stack(images) if images else np.empty((0, 0))
