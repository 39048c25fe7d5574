"""The run store: what is stored comes back bit for bit, whole or not at all, whatever happens to the process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape.errors import UserError
from landscape.store import JSON, RunStore
from landscape.store.folder import user_errors

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, JSON] = {
    "model": "vit",
    "block": 5,
    "grid": {"points": 3, "radius": 0.05},
    "images": ["a.png", "b.png"],
}
IMAGES = 20

# A NaN with a payload, infinities, negative zero, the smallest and the largest number.
AWKWARD = np.array([0x7FF8000000000ABC, 0x7FF0000000000000, 1 << 63, 1, 0x7FEFFFFFFFFFFFFF], np.uint64).view(np.float64)


def point_values(index: int) -> dict[str, float]:
    generator = np.random.default_rng([index, 1])
    return {"loss": generator.normal(), "top1": float("nan") if index % 3 == 0 else generator.uniform(0, 100)}


def point_images(index: int, images: int = IMAGES) -> dict[str, npt.NDArray[np.float64]]:
    generator = np.random.default_rng([index, 2])
    cross_entropy = generator.normal(size=images)
    cross_entropy[: len(AWKWARD)] = AWKWARD
    return {"cross_entropy": cross_entropy, "correct": generator.integers(0, 2, images).astype(np.float64)}


def save(store: RunStore, index: int, images: int = IMAGES) -> None:
    store.save_point(index, [0.1 * index, -0.0], point_values(index), point_images(index, images), seconds=0.25)


def assert_points_are_whole(store: RunStore, indices: list[int]) -> None:
    table = store.values()
    assert table["index"].tolist() == indices
    assert store.done() == set(indices)
    for name in ("loss", "top1"):
        expected = np.array([point_values(index)[name] for index in indices])
        np.testing.assert_array_equal(table[name].to_numpy(), expected)
    for name in ("cross_entropy", "correct"):
        stored_indices, stored = store.per_image(name)
        assert stored_indices.tolist() == indices
        assert stored.tobytes() == b"".join(point_images(index)[name].tobytes() for index in indices)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path / "run", SETTINGS) as opened:
        yield opened


# What is stored comes back


def test_points_come_back_sorted_and_bit_for_bit(store: RunStore) -> None:
    for index in (4, 0, 2):
        save(store, index)
    assert_points_are_whole(store, [0, 2, 4])
    table = store.values()
    assert list(table.columns) == ["index", "coordinate_0", "coordinate_1", "loss", "top1", "seconds"]
    assert table["index"].dtype == np.int64
    assert table["coordinate_0"].tolist() == [0.0, 0.2, 0.4]
    assert np.signbit(table["coordinate_1"]).all()
    assert table["seconds"].tolist() == [0.25] * 3


def test_awkward_aggregates_keep_sign_and_meaning(store: RunStore) -> None:
    values: dict[str, Any] = {
        "nan": np.nan,
        "zero": -0.0,
        "infinite": -np.inf,
        "tiny": 5e-324,
        "single": np.float32(0.1),
    }
    store.save_point(0, [], values, {}, 0.0)
    row = store.values().iloc[0]
    assert np.isnan(row["nan"])
    assert np.signbit(row["zero"])
    assert row["infinite"] == -np.inf
    assert row["tiny"] == 5e-324
    assert row["single"] == 13421773 / 2**27  # what float32 makes of 0.1


def test_a_run_without_points_has_empty_tables(store: RunStore) -> None:
    assert store.done() == set()
    assert list(store.values().columns) == ["index", "seconds"]
    assert len(store.values()) == 0
    indices, values = store.per_image("cross_entropy")
    assert indices.shape == (0,)
    assert values.shape == (0, 0)


def test_every_array_comes_back_bit_for_bit(store: RunStore) -> None:
    arrays = hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=3), fill=st.nothing())
    names = (f"array {number}" for number in range(10**6))

    @given(arrays)
    def check(array: npt.NDArray[Any]) -> None:
        name = next(names)
        store.save_array(name, array)
        loaded = store.load_array(name)
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()

    check()


def test_arrays_in_another_memory_order_keep_their_entries(store: RunStore) -> None:
    array = np.arange(12, dtype=">i2").reshape(3, 4).T[::2]
    store.save_array("view", array)
    loaded = store.load_array("view")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype.str == ">i2"
    loaded[0, 0] = 7  # the caller's own copy


def test_settings_arrays_and_meta_survive_closing(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", SETTINGS, {"axis": np.array([-1.0, 0.0, 1.0])}) as store:
        store.set_meta("host", "first")
        store.set_meta("host", {"cores": [0, 1]})
        save(store, 0)
    with RunStore.open(tmp_path / "run") as store:
        assert store.settings == SETTINGS
        assert store.array_names() == ["axis"]
        assert store.load_array("axis").tolist() == [-1.0, 0.0, 1.0]
        assert store.get_meta("host") == {"cores": [0, 1]}
        assert store.get_meta("nothing") is None
        assert_points_are_whole(store, [0])


# What does not belong is refused


def test_a_point_is_stored_once(store: RunStore) -> None:
    save(store, 3)
    with pytest.raises(ValueError, match="point 3 is stored already"):
        save(store, 3)
    assert_points_are_whole(store, [3])


@pytest.mark.parametrize(
    "changed",
    [
        {"coordinates": [0.1]},
        {"values": {"loss": 1.0}},
        {"values": {"loss": 1.0, "top1": 2.0, "more": 3.0}},
        {"per_image": point_images(1, IMAGES + 1)},
        {"per_image": {"cross_entropy": np.zeros(IMAGES)}},
        {"per_image": {"cross_entropy": np.zeros((2, 10)), "correct": np.zeros(IMAGES)}},
        {"index": -1},
    ],
)
def test_a_point_of_another_form_is_refused_and_leaves_nothing(store: RunStore, changed: dict[str, Any]) -> None:
    save(store, 0)
    point: dict[str, Any] = {
        "index": 1,
        "coordinates": [0.1, 0.2],
        "values": point_values(1),
        "per_image": point_images(1),
        "seconds": 0.1,
    }
    with pytest.raises(ValueError, match=r"expected|axis"):
        store.save_point(**(point | changed))
    assert_points_are_whole(store, [0])


def test_names_of_columns_and_numbers_that_float64_lacks_are_refused(store: RunStore) -> None:
    with pytest.raises(ValueError, match="may not be named"):
        store.save_point(0, [0.0], {"coordinate_0": 1.0}, {}, 0.0)
    with pytest.raises(TypeError):
        store.save_point(0, [0.0], {}, {"complex": np.array([1j])}, 0.0)
    assert store.done() == set()


def test_arrays_of_objects_and_names_in_use_are_refused(store: RunStore) -> None:
    store.save_array("axis", np.zeros(2))
    with pytest.raises(ValueError, match="'axis' is stored already"):
        store.save_array("axis", np.zeros(2))
    with pytest.raises(ValueError, match="dtype object"):
        store.save_array("names", np.array([None, "a"], dtype=object))
    with pytest.raises(ValueError, match=r"no array 'centre'.*axis"):
        store.load_array("centre")


def test_unknown_names_and_modes_tell_what_there_is(store: RunStore) -> None:
    save(store, 0)
    with pytest.raises(ValueError, match=r"no per-image quantity 'loss'.*\['correct', 'cross_entropy'\]"):
        store.per_image("loss")
    with pytest.raises(ValueError, match="expected 'read' or 'append'"):
        RunStore.open(store.folder, "write")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kept by the store itself"):
        store.set_meta("settings", {})
    with pytest.raises(ValueError, match="JSON"):
        store.set_meta("total", float("nan"))


def test_a_reader_cannot_write(store: RunStore) -> None:
    with RunStore.open(store.folder) as reader, pytest.raises(ValueError, match="expected mode='append'"):
        save(reader, 0)


# Settings of a resumed run


def test_equal_settings_are_accepted_however_they_are_written(store: RunStore) -> None:
    reordered = {key: SETTINGS[key] for key in reversed(SETTINGS)}
    store.check_settings(reordered | {"images": ("a.png", "b.png")})


def test_other_settings_are_named_with_both_values(store: RunStore) -> None:
    asked = SETTINGS | {"block": 6, "grid": {"points": 3, "radius": 0.1}, "seed": 0}
    with pytest.raises(UserError) as caught:
        store.check_settings(asked)
    message = str(caught.value)
    assert "block: 5 in the run, 6 asked for" in message
    assert "grid.radius: 0.05 in the run, 0.1 asked for" in message
    assert "seed: not set in the run, 0 asked for" in message
    assert "another --out" in message
    assert "\n" not in message


def test_one_other_image_is_named_and_long_lists_are_not_printed(store: RunStore) -> None:
    with pytest.raises(UserError, match=r'images\[1\]: "b.png" in the run, "c.png" asked for'):
        store.check_settings(SETTINGS | {"images": ["a.png", "c.png"]})
    with pytest.raises(UserError, match="images: 2 entries in the run, 500 entries asked for"):
        store.check_settings(SETTINGS | {"images": ["x.png"] * 500})


def test_only_the_first_differences_are_named(store: RunStore) -> None:
    with pytest.raises(UserError, match=r"a: .*b: .*c: .*and 2 more\)"):
        store.check_settings(SETTINGS | dict.fromkeys("abcde", 1))


# State


def test_status_tells_running_interrupted_and_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with RunStore.create(folder, SETTINGS) as store:
        assert store.status == "running"
        with RunStore.open(folder) as reader:
            assert reader.status == "running"
    with RunStore.open(folder) as reader:
        assert reader.status == "interrupted"
    with RunStore.open(folder, "append") as store:
        store.finish({"seconds": 1.5})
    with RunStore.open(folder) as reader:
        assert reader.status == "finished"
        assert reader.get_meta("totals") == {"seconds": 1.5}
        assert reader.get_meta("created") <= reader.get_meta("finished")


def test_a_second_writer_is_told_who_writes(store: RunStore) -> None:
    with pytest.raises(UserError, match=f"is being written by process {os.getpid()}"):
        RunStore.open(store.folder, "append")


def test_closing_twice_is_harmless_and_lets_the_next_writer_in(store: RunStore) -> None:
    store.close()
    store.close()
    with RunStore.open(store.folder, "append") as again:
        save(again, 0)
        assert_points_are_whole(again, [0])


def test_a_reader_sees_points_that_a_writer_adds(store: RunStore) -> None:
    with RunStore.open(store.folder) as reader:
        for index in range(3):
            save(store, index)
            assert_points_are_whole(reader, list(range(index + 1)))


def test_a_closed_run_is_one_file_that_can_be_copied(store: RunStore, tmp_path: Path) -> None:
    save(store, 0)
    store.close()
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "run.sqlite"]
    (tmp_path / "copy").mkdir()
    shutil.copy(store.folder / "run.sqlite", tmp_path / "copy")
    with RunStore.open(tmp_path / "copy") as copy:
        assert_points_are_whole(copy, [0])


def test_the_file_is_complete_though_a_reader_stays_open(store: RunStore, tmp_path: Path) -> None:
    with RunStore.open(store.folder) as reader:
        save(store, 0)
        assert reader.done() == {0}
        store.close()
        (tmp_path / "copy").mkdir()
        shutil.copy(store.folder / "run.sqlite", tmp_path / "copy")
    with RunStore.open(tmp_path / "copy") as copy:
        assert_points_are_whole(copy, [0])


# Folders that cannot be used


def test_a_new_run_needs_a_new_or_empty_folder(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a run already: continue it with --resume or choose another --out"):
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


def on_a_small_disk(folder: Path, script: str) -> str:
    """Run Python in a mount namespace of its own, where ``folder`` is a disk of 1 MB; return what it printed."""
    folder.mkdir()
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m none '{folder}'"
    if not shutil.which("unshare") or subprocess.run([*namespace, mount], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a disk of its own")
    program = f"import os, subprocess\nfrom tests.test_store import *\nfolder = Path({str(folder)!r})\n{script}"
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


# Processes that die

WRITER = """
import sys
from tests.test_store import *
folder = Path(sys.argv[1])
store = RunStore.open(folder, "append") if RunStore.exists(folder) else RunStore.create(folder, SETTINGS)
store.check_settings(SETTINGS)
for index in sorted(set(range(int(sys.argv[2]))) - store.done()):
    save(store, index)
store.finish()
store.close()
"""


def start_writer(folder: Path, points: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(points)], cwd=REPOSITORY)


def stored_points(folder: Path) -> list[int]:
    if not RunStore.exists(folder):
        return []
    with RunStore.open(folder) as reader:
        return sorted(reader.done())


def test_killing_the_writer_at_any_moment_leaves_whole_points_and_resume_completes_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    delays = np.random.default_rng(0).uniform(0, 0.02, 4)
    for delay in delays:
        before = len(stored_points(folder))
        process = start_writer(folder, points=10**6)
        while len(stored_points(folder)) <= before:
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        stored = stored_points(folder)
        assert stored == list(range(len(stored)))
        with RunStore.open(folder) as reader:
            assert reader.status == "interrupted"
            assert_points_are_whole(reader, stored)
    total = len(stored_points(folder)) + 5
    assert start_writer(folder, points=total).wait() == 0
    with RunStore.open(folder) as reader:
        assert reader.status == "finished"
        assert_points_are_whole(reader, list(range(total)))


def test_an_interrupted_transaction_leaves_no_part_of_a_point(store: RunStore) -> None:
    class Interrupting(dict[str, float]):
        def items(self) -> Any:  # the values are written after the point's own row
            raise KeyboardInterrupt

    save(store, 0)
    with pytest.raises(KeyboardInterrupt):
        store.save_point(1, [0.1, 0.2], Interrupting(point_values(1)), point_images(1), 0.0)
    save(store, 1)
    assert_points_are_whole(store, [0, 1])
