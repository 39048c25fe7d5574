"""The trajectories of a run: visited points, one row each, and the optimizer's state after the last of them (ours)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landscape.store.folder import SCHEMA_VERSION
from landscape.store.layout import JSON, TRAJECTORY_TABLES, canonical
from landscape.store.run_store import RunStore

_FLOAT64 = np.dtype("<f8")
_COLUMNS: dict[str, type] = {
    "cost": np.float64,
    "value": np.float64,
    "best": np.float64,
    "seconds": np.float64,
    "block": np.int64,
    "accepted": np.bool_,
    "images": np.int64,
}


@dataclass(frozen=True)
class StepRow:
    """One visited point; see `landscape.trajectory.Trajectory` for the units.

    Attributes:
        cost: Budget spent so far.
        value: Loss of the point.
        best: Lowest loss so far.
        seconds: Time of the run so far.
        block: Index of a block, or -1.
        accepted: Whether the optimizer went on from it.
        images: How many images the value is a mean of.
        coordinates: float64 (dimension,), or None to keep none.
    """

    cost: float
    value: float
    best: float
    seconds: float
    block: int
    accepted: bool
    images: int
    coordinates: npt.NDArray[np.float64] | None = None


class TrajectoryTable:
    """The trajectories of an open run, each under a name of its own.

    Args:
        store: The run; what changes it needs one that is open to append.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def add(self, name: str, about: Mapping[str, JSON]) -> None:
        """Begin a trajectory.

        Args:
            name: Not used before in this run.
            about: What decides its values, as plain data; no NaN or infinity.

        Raises:
            ValueError: The name is in use.
        """
        with self._store.transaction() as connection:
            for statement in TRAJECTORY_TABLES:  # a run of an older layout gets them with its first trajectory
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            if connection.execute("SELECT 1 FROM trajectories WHERE name = ?", (name,)).fetchone():
                raise ValueError(f"trajectory {name!r} is stored already")
            connection.execute("INSERT INTO trajectories (name, about) VALUES (?, ?)", (name, canonical(about)))

    def append(self, name: str, steps: Sequence[StepRow], state: bytes, static: bytes | None = None) -> None:
        """Store points and the optimizer's state after them: together, or not at all.

        Args:
            name: Of the trajectory.
            steps: The points, in order.
            state: What the run needs to go on from here; replaces the one before.
            static: What it needs besides and never changes; given once.

        Raises:
            ValueError: There is no trajectory of that name.
            UserError: The disk is full or failing; what was stored before is safe.
        """
        identity = self._identity(name)
        with self._store.transaction() as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM steps WHERE trajectory = ?", (identity,)).fetchone()
            connection.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(identity, count + offset, step) for offset, step in enumerate(steps)],
            )
            connection.execute("UPDATE trajectories SET state = ? WHERE id = ?", (state, identity))
            if static is not None:
                connection.execute("UPDATE trajectories SET static = ? WHERE id = ?", (static, identity))

    def finish(self, name: str, result: Mapping[str, JSON]) -> None:
        """Keep what a trajectory ended with; the optimizer's state is dropped, for nothing goes on from there."""
        identity = self._identity(name)
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE trajectories SET result = ?, state = NULL, static = NULL WHERE id = ?",
                (canonical(result), identity),
            )

    def names(self) -> list[str]:
        """Names of all trajectories, in the order in which they were begun; none in a run of an older layout."""
        if not self._store.fetch_all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'trajectories'"):
            return []
        return [name for (name,) in self._store.fetch_all("SELECT name FROM trajectories ORDER BY id")]

    def about(self, name: str) -> dict[str, Any]:
        """What was said when the trajectory was begun."""
        about: dict[str, Any] = json.loads(self._column("about", name))
        return about

    def state(self, name: str) -> bytes | None:
        """The optimizer's state after the last stored point; None before the first and after the end."""
        state: bytes | None = self._column("state", name)
        return state

    def static(self, name: str) -> bytes | None:
        """What of the optimizer never changes; None before the first point and after the end."""
        static: bytes | None = self._column("static", name)
        return static

    def result(self, name: str) -> dict[str, Any] | None:
        """What the trajectory ended with; None while it goes on."""
        text = self._column("result", name)
        return None if text is None else dict(json.loads(text))

    def steps(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """The stored points by column, each of shape (T,): see `StepRow`."""
        rows = self._store.fetch_all(
            f"SELECT {', '.join(_COLUMNS)} FROM steps WHERE trajectory = ? ORDER BY step", (self._identity(name),)
        )
        columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
        return {
            column: np.array([np.nan if entry is None else entry for entry in entries], dtype=dtype)
            for (column, dtype), entries in zip(_COLUMNS.items(), columns, strict=True)
        }

    def coordinates(self, name: str) -> npt.NDArray[np.float64] | None:
        """The coordinates of the stored points, float64 (T, dimension); None if any was stored without."""
        rows = self._store.fetch_all(
            "SELECT coordinates FROM steps WHERE trajectory = ? ORDER BY step", (self._identity(name),)
        )
        if not rows or any(data is None for (data,) in rows):
            return None
        return np.stack([np.frombuffer(zlib.decompress(data), _FLOAT64) for (data,) in rows])

    def _identity(self, name: str) -> int:
        return int(self._column("id", name))

    def _column(self, column: str, name: str) -> Any:
        rows = self._store.fetch_all(f"SELECT {column} FROM trajectories WHERE name = ?", (name,))
        if not rows:
            raise ValueError(f"no trajectory {name!r} in {self._store.folder}")
        return rows[0][0]


def _row(identity: int, number: int, step: StepRow) -> tuple[Any, ...]:
    data = None
    if step.coordinates is not None:
        data = zlib.compress(np.ascontiguousarray(step.coordinates, dtype=_FLOAT64).tobytes(), 1)
    numbers = (float(step.cost), float(step.value), float(step.best), float(step.seconds))
    return (identity, number, *numbers, int(step.block), int(step.accepted), int(step.images), data)
