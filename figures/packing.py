"""How runs are packed for the repository: points and settings, nothing of the network that a picture does not need."""

from __future__ import annotations

import contextlib
import lzma
import sqlite3
import tempfile
from pathlib import Path

from figures.places import SHOWN_DATA, shared_data
from landscape.errors import UserError

_DROPPED = (
    "name = 'teacher' OR name = 'search_teacher' OR name LIKE '%/search/%' OR name LIKE '%/test/%' "
    "OR name LIKE 'start/%' OR name LIKE '%/point'"
)
"""Arrays that no figure needs: the float network's logits, and single images' losses of a search."""


def keep(run: Path, target: Path) -> Path:
    """Pack a run, which may be written to meanwhile: its points and settings, no parameters that do not move.

    Args:
        run: Folder of the run.
        target: The packed file.
    """
    with tempfile.TemporaryDirectory() as place:
        database = Path(place) / "run.sqlite"
        _copy(run / "run.sqlite", database)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            _drop(connection)
            _hide_folders(connection)
            connection.commit()
            connection.execute("VACUUM")
        target.write_bytes(lzma.compress(database.read_bytes(), preset=9))
    return target


def _copy(source: Path, target: Path) -> None:
    """A whole copy of a database that another process may be writing."""
    read_only = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(read_only), contextlib.closing(sqlite3.connect(target)) as copy:
        read_only.backup(copy)


def _hide_folders(connection: sqlite3.Connection) -> None:
    """Where networks and images lay on the machine that made the run is nobody's business."""
    with contextlib.suppress(UserError):
        connection.execute("UPDATE meta SET value = replace(value, ?, ?)", (str(shared_data()), SHOWN_DATA))


def _drop(connection: sqlite3.Connection) -> None:
    settings = connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()[0]
    scan = '"kind": "scan"' in settings or '"kind":"scan"' in settings
    connection.execute(f"DELETE FROM arrays WHERE {_DROPPED}")
    for (array,) in connection.execute("SELECT name FROM arrays WHERE name LIKE 'quantized/%'").fetchall():
        scale = array.removeprefix("quantized/").removesuffix(".scale")
        if not scan or not array.endswith(".scale") or f'"{scale}"' not in settings:
            connection.execute("DELETE FROM arrays WHERE name = ?", (array,))
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "trajectories" in tables:  # states of the optimizers: to go on with, not to look at
        connection.execute("UPDATE trajectories SET state = NULL, static = NULL")
