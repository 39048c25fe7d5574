"""The folder of a run on disk: how its database is made, opened and closed, and what can go wrong (ours).

run.sqlite        the run; the only file that has to be copied once the run is closed
run.sqlite-wal    write-ahead log, present only while a process has the run open, or after it was killed
run.sqlite-shm    index of that log, likewise
.lock             locked by the process that writes, with its number inside; kept, empty, when it is done
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landscape.errors import UserError
from landscape.store.lock import LOCK

DATABASE = "run.sqlite"
SCHEMA_VERSION = 2
"""1: points. 2: trajectories too."""

APPLICATION_ID = (
    0x4C534341  # "LSCA", in the header of every run's database, so that no other database is taken for a run
)

_DRAFT = "run.sqlite.draft"
_BUSY_SECONDS = 30.0

RESUME = "--resume (in Python: resume=True)"

# What became of the user's work; the braces take what to do about the problem.
STORED_IS_SAFE = f"every point stored before is safe; {{}} and continue with {RESUME}"
NOTHING_STORED = "nothing was stored; {} or choose another folder"
ONLY_READ = "{} and try again"


@contextmanager
def user_errors(folder: Path, outcome: str = STORED_IS_SAFE) -> Iterator[None]:
    """Turn what a disk, a lock or a damaged file does to the run in ``folder`` into one clear line.

    Args:
        folder: The run's folder, for the message.
        outcome: One of the sentences above.

    Raises:
        UserError: For a disk that is full, failing or read-only, and for a database that is locked or damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _database_error(folder / DATABASE, error, outcome) from error
    except OSError as error:
        problem, remedy = _file_problem(folder, error)
        raise UserError(f"{problem}: {outcome.format(remedy)}") from error


def _database_error(database: Path, error: sqlite3.Error, outcome: str) -> Exception:
    code = _primary_code(error)
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return UserError(
            f"{database} is damaged, cut short or no run ({error}), expected what `landscape scan` wrote: "
            "restore it from a copy or choose another folder"
        )
    problems = {
        sqlite3.SQLITE_FULL: (f"the disk that holds {database} is full", "free some space"),
        sqlite3.SQLITE_IOERR: (f"{database} cannot be read or written ({error})", "check the disk"),
        sqlite3.SQLITE_READONLY: (f"{database} is read-only", "make it writable"),
        sqlite3.SQLITE_CANTOPEN: (f"{database} cannot be opened", "make the file and its folder accessible"),
        sqlite3.SQLITE_BUSY: (f"another program keeps {database} locked", "close that program"),
    }
    if code not in problems:
        return error  # a mistake of this program
    problem, remedy = problems[code]
    return UserError(f"{problem}: {outcome.format(remedy)}")


def _primary_code(error: sqlite3.Error) -> int | None:
    extended_code: int | None = getattr(error, "sqlite_errorcode", None)  # absent when Python itself raised it
    return None if extended_code is None else extended_code & 0xFF


def _file_problem(folder: Path, error: OSError) -> tuple[str, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk that holds {folder} is full", "free some space"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename or folder} cannot be used ({error.strerror})", "make the folder writable"
    return f"{error.filename or folder} cannot be used ({error.strerror})", "check the path"


def make_folder(folder: Path) -> None:
    """Make ``folder`` for a new run, or accept it when nothing else lies there.

    Raises:
        UserError: When it is a file, holds a run, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, expected a new or empty folder: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DATABASE).exists():
        raise UserError(f"{folder} holds a run already: continue it with {RESUME} or choose another folder")
    for entry in sorted(folder.iterdir()):
        # Both may be left by a process that was killed before the run existed.
        if entry.name != LOCK and not entry.name.startswith(_DRAFT):
            raise UserError(
                f"{folder} is not empty and holds no run (found {entry.name}), expected a new or empty folder: "
                "choose another folder"
            )


@contextmanager
def draft_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """A database that becomes ``run.sqlite`` in one step when the block ends, and never existed when it fails.

    The caller holds the folder's lock.
    """
    _remove_draft(folder)
    connection = _connect(folder / _DRAFT, "rwc")
    try:
        try:
            yield connection
        finally:
            connection.close()
        os.replace(folder / _DRAFT, folder / DATABASE)
    except BaseException:
        _remove_draft(folder)
        raise


def _remove_draft(folder: Path) -> None:
    for leftover in folder.glob(f"{_DRAFT}*"):
        leftover.unlink(missing_ok=True)


def connect_for_reading(database: Path) -> sqlite3.Connection:
    """Open a run for reading, also while a process writes it and also on read-only media.

    Raises:
        UserError: When it is no run, is newer than this program, or cannot be read where it lies.
    """
    try:
        return _connect_to_run(database, "ro")
    except sqlite3.OperationalError as error:
        if _primary_code(error) != sqlite3.SQLITE_CANTOPEN:
            raise
        # Where no log file can be made, SQLite reads a database of this kind only as one that nobody changes.
        # That would leave out what a killed writer had in its log, so a log that holds something is not passed over.
        log = database.with_name(f"{DATABASE}-wal")
        if log.exists() and log.stat().st_size > 0:
            raise UserError(
                f"{database.parent} was interrupted while writing and lies where nothing can be written: "
                "copy the whole folder to a writable place and read it there"
            ) from error
        return _connect_to_run(database, "ro&immutable=1")


def connect_for_writing(database: Path) -> sqlite3.Connection:
    """Open a run for writing; the caller holds the folder's lock.

    Raises:
        UserError: When it is no run, is newer than this program, or lies on a disk without write-ahead logging.
    """
    connection = _connect_to_run(database, "rw")
    try:
        (journal,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if journal != "wal":
            raise UserError(
                f"{database.parent} lies on a disk without the shared memory that write-ahead logging needs, "
                "expected a local disk: choose another folder"
            )
        connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def close_after_writing(connection: sqlite3.Connection) -> None:
    """Close, leaving the whole run in the one file ``run.sqlite`` that can be copied or put on read-only media.

    A reader that has the run open keeps the log's files in place; the log is then emptied into the database instead.
    """
    try:
        connection.execute("PRAGMA busy_timeout=0")  # a reader may stay for hours
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _connect_to_run(database: Path, mode: str) -> sqlite3.Connection:
    connection = _connect(database, mode)
    try:
        _check_identity(connection, database)  # before anything is changed in what may be somebody else's file
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(database: Path, mode: str) -> sqlite3.Connection:
    address = f"{database.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _check_identity(connection: sqlite3.Connection, database: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise UserError(f"{database} is no run, expected a database that `landscape scan` wrote: choose another folder")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{database} has layout {version} of a newer release, this one reads up to {SCHEMA_VERSION}: "
            "upgrade evolq-landscape"
        )
