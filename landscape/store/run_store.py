"""A run that is open: its settings, fixed arrays, points and state (ours)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from landscape.errors import UserError
from landscape.store.folder import (
    DATABASE,
    NOTHING_STORED,
    ONLY_READ,
    STORED_IS_SAFE,
    close_after_writing,
    connect_for_reading,
    connect_for_writing,
    draft_database,
    make_folder,
    user_errors,
)
from landscape.store.layout import JSON, canonical, differences, lay_out, now, put_array, put_meta, to_array
from landscape.store.lock import WriterLock, is_being_written
from landscape.store.points import VALUES_QUERY, put_point, to_matrix, to_table

Status: TypeAlias = Literal["running", "interrupted", "finished"]

_RESERVED_KEYS = frozenset({"settings", "created", "finished", "totals"})
_SHOWN_DIFFERENCES = 3


def _is_digest(difference: str) -> bool:
    return difference.partition(":")[0].endswith("_sha256")


class RunStore:
    """A run, opened for reading or for appending; made by :meth:`create` and :meth:`open`.

    Use it as a context manager. The folder must lie on a local disk while it is written.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: WriterLock | None) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = lock

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether ``folder`` holds a run."""
        return (Path(folder) / DATABASE).is_file()

    @classmethod
    def create(
        cls, folder: str | Path, settings: Mapping[str, JSON], arrays: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> Self:
        """Make a new run in a new or empty folder and open it for appending. It is made whole or not at all.

        Args:
            folder: Made with its parents when it does not exist.
            settings: What decides the run's values; see :meth:`check_settings`. No NaN or infinity.
            arrays: Fixed arrays by name; see :meth:`save_array`.

        Raises:
            UserError: When the folder holds a run or anything else, is being written by another process, or its disk
                is full or read-only.
        """
        folder = Path(folder)
        with user_errors(folder, NOTHING_STORED):
            make_folder(folder)
            lock = WriterLock(folder)
            try:
                make_folder(folder)  # again: another process may have made a run before we had the lock
                with draft_database(folder) as draft:
                    lay_out(draft, settings, arrays or {})
                return cls(folder, connect_for_writing(folder / DATABASE), lock)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def open(cls, folder: str | Path, mode: Literal["read", "append"] = "read") -> Self:
        """Open an existing run.

        Args:
            folder: The run's folder.
            mode: "read" works while another process writes and on read-only media; "append" continues the run.

        Raises:
            UserError: When there is no run, it is damaged or newer than this release, or (to append) another process
                writes it or it cannot be written.
        """
        if mode not in ("read", "append"):
            raise ValueError(f"mode is {mode!r}, expected 'read' or 'append'")
        folder = Path(folder)
        database = folder / DATABASE
        with user_errors(folder, STORED_IS_SAFE if mode == "append" else ONLY_READ):
            if not database.is_file():
                raise UserError(f"there is no run in {folder}, expected {database}: give the folder of a run")
            if mode == "read":
                return cls(folder, connect_for_reading(database), None)
            lock = WriterLock(folder)
            try:
                return cls(folder, connect_for_writing(database), lock)
            except BaseException:
                lock.release()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except UserError:
            if error is None:  # else the error that ended the block is the one to tell
                raise

    def close(self) -> None:
        """Close the run; after appending, all of it is in ``run.sqlite``. Closing twice is allowed.

        Raises:
            UserError: When the disk is full or failing; nothing is lost, part of the run stays in ``run.sqlite-wal``.
        """
        if self._lock is None:
            self._connection.close()
            return
        lock, self._lock = self._lock, None
        with user_errors(self.folder):
            try:
                close_after_writing(self._connection)
            finally:
                lock.release()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings the run was made with, as JSON gives them back (tuples are lists)."""
        settings: dict[str, Any] = self.get_meta("settings")
        return settings

    def check_settings(self, settings: Mapping[str, JSON], ignoring: Collection[str] = ()) -> None:
        """Make sure that the run was made with these settings, so that it may be continued with them.

        Args:
            settings: All that decides the run's values.
            ignoring: Keys that may differ, such as where a file lies whose digest is a setting too.

        Raises:
            UserError: When any differ; it names the first few with the run's value and the one asked for.
        """
        old, new = (
            {key: value for key, value in side.items() if key not in ignoring}
            for side in (self.settings, json.loads(canonical(settings)))
        )
        found = sorted(differences(old, new, ""), key=_is_digest)  # what a user chose comes before its digests
        if not found:
            return
        shown = "; ".join(found[:_SHOWN_DIFFERENCES])
        more = len(found) - _SHOWN_DIFFERENCES
        raise UserError(
            f"{self.folder} was made with other settings ({shown}{f'; and {more} more' if more > 0 else ''}): "
            "choose another folder, or continue with the old settings"
        )

    @property
    def status(self) -> Status:
        """``finished`` once :meth:`finish` was called, ``running`` while it is open to append, else ``interrupted``."""
        if self.get_meta("finished") is not None:
            return "finished"
        return "running" if is_being_written(self.folder) else "interrupted"

    def finish(self, totals: Mapping[str, JSON] | None = None) -> None:
        """Mark the run as finished now, with totals to keep: meta ``finished`` (UTC, ISO 8601) and ``totals``."""
        with self.transaction() as connection:
            put_meta(connection, "finished", now())
            put_meta(connection, "totals", totals or {})

    def set_meta(self, key: str, value: JSON) -> None:
        """Keep something about the run that no resume depends on; an older value is replaced. No NaN or infinity."""
        if key in _RESERVED_KEYS:
            raise ValueError(f"meta key {key!r} is kept by the store itself")
        with self.transaction() as connection:
            put_meta(connection, key, value)

    def get_meta(self, key: str) -> Any:
        """What :meth:`set_meta` kept, or None; the store itself keeps ``created``, ``finished`` and ``totals``."""
        row = self._fetch_one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else json.loads(row[0])

    def save_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Keep a fixed array, once: axis coordinates, directions, the centre, the teacher's logits.

        Args:
            name: A name not used before.
            array: Any shape; a dtype of plain numbers, booleans, dates or fixed-length strings; less than 1 GB.

        Raises:
            ValueError: For a name in use, a dtype of Python objects or records, or an array too large.
        """
        with self.transaction() as connection:
            put_array(connection, name, array)

    def load_array(self, name: str) -> npt.NDArray[Any]:
        """The array saved as ``name``: same dtype, shape and bits, in C order, writable.

        Raises:
            ValueError: When there is none of that name.
        """
        row = self._fetch_one("SELECT dtype, shape, data FROM arrays WHERE name = ?", (name,))
        if row is None:
            raise ValueError(f"no array {name!r} in {self.folder}, there are {self.array_names()}")
        return to_array(*row)

    def array_names(self) -> list[str]:
        """The names of the fixed arrays, sorted."""
        return [name for (name,) in self.fetch_all("SELECT name FROM arrays ORDER BY name")]

    def save_point(
        self,
        index: int,
        coordinates: Sequence[float],
        values: Mapping[str, float],
        per_image: Mapping[str, npt.NDArray[Any]],
        seconds: float,
    ) -> None:
        """Store one point, whole or not at all; when this returns, no kill of the process can lose it.

        Args:
            index: Position in the plan of the run, 0 or more; each is stored once.
            coordinates: Where the point lies; any number of them, the same for all points of a run.
            values: Aggregates by name, as float64; the same names for all points.
            per_image: By name, shape (images,), of a dtype that float64 holds exactly; same names and lengths for all.
            seconds: Time it took.

        Raises:
            ValueError: For an index stored before, or a point of another form than the first.
            UserError: When the disk is full or failing; the point is not stored, all before it are.
        """
        with self.transaction() as connection:
            put_point(connection, index, coordinates, values, per_image, seconds)

    def done(self) -> set[int]:
        """The indices of the points stored so far."""
        return {index for (index,) in self.fetch_all("SELECT id FROM points")}

    def values(self) -> pd.DataFrame:
        """The points stored so far, one row each, sorted by index.

        Returns:
            Columns ``index`` (int64), ``coordinate_0`` and so on, the values by their names, ``seconds`` (float64).
        """
        return to_table(self.fetch_all(VALUES_QUERY))

    def per_image(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """One per-image quantity of the points stored so far.

        Returns:
            The points' indices, shape (points,), sorted; and the quantity, shape (points, images), float64.

        Raises:
            ValueError: When points are stored and none has a quantity of that name.
        """
        any_stored = bool(self.done())  # first, for a writer may add points meanwhile
        rows = self.fetch_all("SELECT point, data FROM point_images WHERE name = ? ORDER BY point", (name,))
        if any_stored and not rows:
            names = [name for (name,) in self.fetch_all("SELECT DISTINCT name FROM point_images ORDER BY name")]
            raise ValueError(f"no per-image quantity {name!r} in {self.folder}, there are {names}")
        return to_matrix(rows)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """For the other tables of this package: what happens inside is stored whole or not at all.

        Raises:
            ValueError: The run is closed or open for reading only.
            UserError: The disk is full or failing.
        """
        if self._lock is None:
            raise ValueError(f"{self.folder} is closed or open for reading only, expected mode='append'")
        with user_errors(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def fetch_all(self, query: str, parameters: tuple[str | int, ...] = ()) -> list[tuple[Any, ...]]:
        """For the other tables of this package: all rows of a query."""
        with user_errors(self.folder, ONLY_READ):
            return self._connection.execute(query, parameters).fetchall()

    def _fetch_one(self, query: str, parameters: tuple[str, ...]) -> tuple[Any, ...] | None:
        return next(iter(self.fetch_all(query, parameters)), None)
