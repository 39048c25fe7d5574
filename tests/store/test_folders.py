"""Folders that hold no usable run, disks that are full or read-only: told in one line, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape.errors import UserError
from landscape.store import RunStore
from landscape.store.folder import user_errors
from tests.store.points import (
    REPOSITORY,
    SETTINGS,
    assert_points_are_whole,
    save,
)

# Folders that cannot be used


def test_a_new_run_needs_a_new_or_empty_folder(store: RunStore, tmp_path: Path) -> None:
    words = r"holds a run already: continue it with --resume \(in Python: resume=True\) or choose another folder"
    with pytest.raises(UserError, match=words):
        RunStore.create(store.folder, SETTINGS)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no run \(found chapter.txt\)"):
        RunStore.create(tmp_path / "thesis", SETTINGS)
    with pytest.raises(UserError, match="is a file"):
        RunStore.create(tmp_path / "thesis" / "chapter.txt", SETTINGS)
    with pytest.raises(UserError, match=r"chapter.txt/run.*cannot be used"):
        RunStore.create(tmp_path / "thesis" / "chapter.txt" / "run", SETTINGS)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_what_a_killed_creation_left_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").write_text("12345")
    (folder / "run.sqlite.draft").write_bytes(b"half a database")
    (folder / "run.sqlite.draft-journal").write_bytes(b"half a journal")
    assert not RunStore.exists(folder)
    with RunStore.create(folder, SETTINGS) as store:
        assert store.settings == SETTINGS
    assert RunStore.exists(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "run.sqlite"]


def test_a_creation_that_fails_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype object"):
        RunStore.create(tmp_path / "run", SETTINGS, {"bad": np.array([None])})
    assert not RunStore.exists(tmp_path / "run")
    RunStore.create(tmp_path / "run", SETTINGS).close()


@pytest.mark.parametrize("mode", ["read", "append"])
def test_a_missing_run_is_told(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        RunStore.open(tmp_path / "nowhere", mode)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", ["read", "append"])
@pytest.mark.parametrize("content", [b"", b"no database at all, but text " * 100])
def test_a_file_that_is_no_run_is_told(tmp_path: Path, mode: Any, content: bytes) -> None:
    (tmp_path / "run.sqlite").write_bytes(content)
    with pytest.raises(UserError, match="no run"):
        RunStore.open(tmp_path, mode)
    assert (tmp_path / "run.sqlite").read_bytes() == content


def test_a_database_of_another_program_is_told_and_not_touched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "run.sqlite") as connection:
        connection.execute("CREATE TABLE points (id)")
    connection.close()
    before = (tmp_path / "run.sqlite").read_bytes()
    with pytest.raises(UserError, match="is no run"):
        RunStore.open(tmp_path, "append")
    assert (tmp_path / "run.sqlite").read_bytes() == before


@pytest.mark.parametrize("mode", ["read", "append"])
def test_a_truncated_run_is_told(store: RunStore, mode: Any) -> None:
    for index in range(50):
        save(store, index)
    store.close()
    database = store.folder / "run.sqlite"
    os.truncate(database, database.stat().st_size // 2)
    with pytest.raises(UserError, match="damaged, cut short or no run"), RunStore.open(store.folder, mode) as cut:
        cut.values()


def test_a_newer_layout_is_told(store: RunStore) -> None:
    store.close()
    connection = sqlite3.connect(store.folder / "run.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UserError, match=r"layout 99 of a newer release.*upgrade"):
        RunStore.open(store.folder)


# Disks that are full or read-only


def test_a_full_database_keeps_what_it_has_and_goes_on_when_there_is_room(store: RunStore) -> None:
    stored = []
    store._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(UserError, match=r"is full: every point stored before is safe; free some space and .*--resume"):
        for index in range(1000):
            save(store, index)
            stored.append(index)
    assert len(stored) > 2
    assert_points_are_whole(store, stored)
    store._connection.execute("PRAGMA max_page_count = 1000")
    save(store, len(stored))
    assert_points_are_whole(store, [*stored, len(stored)])


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "writable"), (errno.EACCES, "writable")],
)
def test_errors_of_the_file_system_become_one_line(tmp_path: Path, number: int, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught, user_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert "continue with --resume" in str(caught.value)
    assert "\n" not in str(caught.value)


PRELUDE = """
import os, shutil, signal, subprocess
import pytest
from landscape.errors import UserError
from tests.store.points import *
"""


def on_a_small_disk(folder: Path, script: str) -> str:
    """Run Python in a mount namespace of its own, where ``folder`` is a disk of 1 MB; return what it printed."""
    folder.mkdir()
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m none '{folder}'"
    if not shutil.which("unshare") or subprocess.run([*namespace, mount], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a disk of its own")
    program = f"{PRELUDE}folder = Path({str(folder)!r})\n{script}"
    command = [*namespace, f'{mount} && exec "$0" -c "$1"', sys.executable, program]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_a_full_disk_loses_no_stored_point(tmp_path: Path) -> None:
    printed = on_a_small_disk(
        tmp_path / "disk",
        """
store = RunStore.create(folder / "run", SETTINGS)
stored = []
try:
    for index in range(10_000):
        save(store, index)
        stored.append(index)
except UserError as error:
    print(error)
try:
    store.close()
except UserError:
    pass  # the disk is full still
try:
    RunStore.create(folder / "other", SETTINGS)
except UserError as error:
    print(error)
with RunStore.open(folder / "run") as reader:
    assert_points_are_whole(reader, stored)
subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
with RunStore.open(folder / "run", "append") as store:
    save(store, len(stored))
    assert_points_are_whole(store, [*stored, len(stored)])
print(len(stored) > 10)
""",
    )
    first, second, enough = printed.splitlines()
    assert "is full: every point stored before is safe; free some space and continue with --resume" in first
    assert "is full: nothing was stored" in second
    assert enough == "True"


def test_runs_on_read_only_media_are_read_and_not_written(tmp_path: Path) -> None:
    printed = on_a_small_disk(
        tmp_path / "disk",
        """
with RunStore.create(folder / "closed", SETTINGS) as store:
    save(store, 0)
store = RunStore.create(folder / "read", SETTINGS)
with RunStore.open(folder / "read") as reader:
    save(store, 0)
    reader.done()
    store.close()
child = os.fork()
if child == 0:
    save(RunStore.create(folder / "killed", SETTINGS), 0)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
for name in ("read", "copied"):
    shutil.copytree(folder / name.replace("copied", "killed"), folder / f"{name} without index")
    (folder / f"{name} without index" / "run.sqlite-shm").unlink()
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
for name in ("closed", "read", "killed", "read without index"):
    with RunStore.open(folder / name) as reader:
        assert_points_are_whole(reader, [0])
for attempt in (
    lambda: RunStore.open(folder / "copied without index"),
    lambda: RunStore.open(folder / "closed", "append"),
    lambda: RunStore.create(folder / "new", SETTINGS),
):
    try:
        attempt()
    except UserError as error:
        print(error)
""",
    )
    unread, unwritten, unmade = printed.splitlines()
    assert "was interrupted while writing and lies where nothing can be written: copy the whole folder" in unread
    assert "Read-only file system" in unwritten
    assert "continue with --resume" in unwritten
    assert "Read-only file system" in unmade
    assert "nothing was stored" in unmade
