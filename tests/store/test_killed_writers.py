"""Processes that die while they write: points are whole or absent, and the run goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape.store import RunStore
from tests.store.points import (
    REPOSITORY,
    assert_points_are_whole,
    point_images,
    point_values,
    save,
)

WRITER = """
import sys
from tests.store.points import *
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
