"""Trajectories: kept whole, read back bit for bit, compared at equal budget."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape.errors import UserError
from landscape.store import RunStore, StepRow, TrajectoryTable
from landscape.store.folder import DATABASE
from landscape.trajectory import Trajectory, load_trajectories

ABOUT: dict[str, Any] = {"method": "evolq", "preset": "ours", "seed": 3, "label": "Evol-Q (ours)", "loss": "infonce"}


def step(cost, value, best, coordinates=None):
    return StepRow(cost, value, best, 0.5, 11, value == best, 100, coordinates)


def make_run(folder: Path, *steps: StepRow) -> None:
    with RunStore.create(folder, {"kind": "optimize"}) as store:
        table = TrajectoryTable(store)
        table.add("one", {**ABOUT, "names": ["a", "b"], "sizes": [1, 2]})
        for number, row in enumerate(steps):
            table.append("one", [row], f"state {number}".encode())


def test_points_and_state_are_read_back_bit_for_bit(tmp_path):
    first, second = np.array([0.1, -0.0, 1e-300]), np.array([np.pi, 2.0, np.nan])
    make_run(tmp_path / "run", step(100, 2.5, 2.5, first), step(200, np.nan, 2.5, second))
    (found,) = load_trajectories(tmp_path / "run", coordinates=True)
    assert found.coordinates is not None
    assert found.coordinates.tobytes() == np.stack([first, second]).tobytes()
    assert found.value[0] == 2.5 and np.isnan(found.value[1])
    assert found.accepted.tolist() == [True, False]
    assert found.names == ("a", "b") and found.sizes == (1, 2)
    assert not found.finished
    with RunStore.open(tmp_path / "run") as store:
        assert TrajectoryTable(store).state("one") == b"state 1"


def test_a_step_that_cannot_be_stored_leaves_the_state_as_it_was(tmp_path):
    make_run(tmp_path / "run", step(100, 2.5, 2.5))
    with RunStore.open(tmp_path / "run", "append") as store:
        table = TrajectoryTable(store)
        bad = StepRow(1.0, 1.0, 1.0, 1.0, 0, True, "many")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="invalid literal"):
            table.append("one", [step(200, 1.0, 1.0), bad], b"later")
        assert table.state("one") == b"state 0"
        assert len(table.steps("one")["cost"]) == 1


def test_a_run_of_the_first_layout_is_readable_and_gets_the_tables_with_its_first_trajectory(tmp_path):
    with RunStore.create(tmp_path, {"kind": "scan"}) as store:
        store.save_point(0, (0.0,), {"loss": 1.0}, {}, 0.1)
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(UserError, match="has no trajectories"):
        load_trajectories(tmp_path)
    with RunStore.open(tmp_path, "append") as store:
        TrajectoryTable(store).add("one", ABOUT)
    (found,) = load_trajectories(tmp_path)
    assert len(found) == 0 and found.label == "Evol-Q (ours)"
    with RunStore.open(tmp_path) as store:
        assert store.values()["loss"].tolist() == [1.0]


def test_a_name_is_used_once(tmp_path):
    make_run(tmp_path)
    with RunStore.open(tmp_path, "append") as store, pytest.raises(ValueError, match="stored already"):
        TrajectoryTable(store).add("one", ABOUT)


def test_a_finished_trajectory_keeps_its_result_and_drops_its_state(tmp_path):
    make_run(tmp_path, step(100, 2.5, 2.5))
    with RunStore.open(tmp_path, "append") as store:
        table = TrajectoryTable(store)
        table.finish("one", {"end": {"top1": 70.0}, "selected_on_test": True})
        assert table.state("one") is None
    (found,) = load_trajectories(tmp_path)
    assert found.finished and found.selected_on_test and found.result["end"] == {"top1": 70.0}
    assert "infonce 2.5 -> 2.5" in repr(found)


def test_values_at_equal_budget_are_the_last_known_ones():
    found = _trajectory(cost=[100, 250, 300], best=[3.0, 2.0, 1.0])
    known = found.best_at(np.array([0, 100, 249, 250, 1000]))
    np.testing.assert_array_equal(known, [np.nan, 3.0, 3.0, 2.0, 1.0])
    assert list(found.to_dataframe().columns)[:3] == ["cost", "value", "best"]


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        _trajectory(cost=[1, 2], best=[1.0])


def _trajectory(cost, best):
    n = len(cost)
    numbers = np.array(best, dtype=float)
    return Trajectory(
        "random", None, 0, "random", "loss", np.array(cost, dtype=float), numbers, numbers, np.zeros(n),
        np.full(n, -1), np.ones(n, dtype=bool), np.full(n, 100),
    )  # fmt: skip
