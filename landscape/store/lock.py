"""One writer for a run: a lock that its process holds and that ends with it, however it dies (ours)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import ModuleType

from landscape.errors import UserError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: runs can be read there, not written
    fcntl = None

LOCK = ".lock"

_ATTEMPTS = 5


class WriterLock:
    """The right to write into a run's folder, held from construction to :meth:`release`.

    Args:
        folder: An existing folder.

    Raises:
        UserError: When another process has it, or the platform has no ``fcntl.flock``.
        OSError: When the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        if fcntl is None:
            raise UserError("writing a run needs the file locks of Linux or macOS: on Windows use WSL")
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not self._acquire():
                holder = _holder(self._descriptor)
                raise UserError(f"{folder} is being written by process {holder}: wait for it or choose another folder")
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, str(os.getpid()).encode())
        except BaseException:
            os.close(self._descriptor)
            raise

    def _acquire(self) -> bool:
        for attempt in range(_ATTEMPTS):
            if _try_lock(self._descriptor, exclusive=True):
                return True
            time.sleep(0.01 * attempt)  # `is_being_written` of another process holds it for a moment
        return False

    def release(self) -> None:
        """Let another process write. The file stays: removing it could let two processes hold it."""
        try:
            os.ftruncate(self._descriptor, 0)
        finally:
            os.close(self._descriptor)


def is_being_written(folder: Path) -> bool:
    """Whether a living process has the folder's ``WriterLock`` (always False where there are no such locks)."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, exclusive=False)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, exclusive: bool) -> bool:
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace") or "(number unknown)"
