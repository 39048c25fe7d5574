"""Scans from Python: the grid, its order, memory and folder alike, stored values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

import landscape
from landscape.engine import Evaluator
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.quant.network import QuantizedNetwork
from landscape.scan import ScanOptions, load_surface, scan
from landscape.store import RunStore


@pytest.fixture(scope="module")
def problem() -> Problem:
    return landscape.load_problem(block=2, images=24, calib_images=16, engine="reference", losses="all")


def test_the_axis_is_symmetric_and_holds_zero_exactly() -> None:
    axis = ScanOptions(points=21, radius=0.3).axis()
    assert axis[10] == 0.0 and axis[0] == -0.3 and axis[-1] == 0.3
    np.testing.assert_array_equal(axis, -axis[::-1])


@pytest.mark.parametrize(("dims", "points"), [(1, 11), (2, 7), (2, 9)])
def test_the_order_starts_at_the_centre_refines_and_leaves_nothing_out(dims: int, points: int) -> None:
    options = ScanOptions(dims=dims, points=points)
    order, half = options.order(), points // 2
    assert sorted(order) == list(range(points**dims))
    offsets = [np.array(np.unravel_index(i, (points,) * dims)) - half for i in order]
    assert not offsets[0].any()
    even = [not (offset % 2).any() for offset in offsets]
    assert even == sorted(even, reverse=True)  # the grid of twice the step comes first


def test_index_and_coordinates_agree() -> None:
    options = ScanOptions(points=5, radius=0.1)
    axis = options.axis()
    assert options.coordinates()[7] == (axis[1], axis[2])


@pytest.mark.parametrize(
    "wrong", [{"points": 4}, {"points": 1}, {"radius": 0.0}, {"radius": float("nan")}, {"dims": 3}, {"seed": -1}]
)
def test_a_grid_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        ScanOptions(**wrong)


def test_unknown_options_are_named(problem: Problem) -> None:
    with pytest.raises(UserError, match="unknown option 'point'; options are"):
        scan(problem, point=3)


def test_memory_and_folder_hold_the_same_surface(problem: Problem, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dims": 2, "points": 3, "radius": 0.1}
    memory = scan(problem, **options)
    stored = scan(problem, out=tmp_path / "run", **options)
    again = load_surface(tmp_path / "run")
    for surface in (stored, again):
        assert surface.settings == memory.settings and surface.reference == memory.reference
        for name, value in memory.values.items():
            np.testing.assert_array_equal(surface.values[name], value)
        for name in memory.per_image:
            np.testing.assert_array_equal(surface.per_image[name], memory.per_image[name])
    assert again.complete and set(again.per_image) == set(memory.values) - {"flip_rate"}


def test_the_centre_is_the_calibrated_network(problem: Problem) -> None:
    surface = scan(problem, dims=1, points=3, radius=0.2)
    (centre,) = problem.evaluate([problem.centre])
    assert {name: value[1] for name, value in surface.values.items()} == dict(centre.values)
    assert surface.values["flip_rate"][1] == 0.0 and surface.values["flip_rate"][0] > 0.1


def test_an_interrupted_scan_resumes_without_computing_anything_twice(problem: Problem, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dims": 1, "points": 5, "radius": 0.1}
    whole = scan(problem, **options)
    done: list[Any] = []

    class Interrupting(Problem):
        def evaluations(self, points, progress=None):
            for found in problem.evaluations(points, progress):
                if len(done) == 3:
                    raise KeyboardInterrupt
                done.append(found)
                yield found

    broken = Interrupting(**{name: getattr(problem, name) for name in Problem.__dataclass_fields__ if name[0] != "_"})
    with pytest.raises(KeyboardInterrupt):
        scan(broken, out=tmp_path / "run", **options)
    with RunStore.open(tmp_path / "run") as store:
        assert len(store.done()) == 3 and store.status == "interrupted"
    assert not load_surface(tmp_path / "run").complete
    resumed = scan(problem, out=tmp_path / "run", resume=True, **options)
    for name, value in whole.values.items():
        np.testing.assert_array_equal(resumed.values[name], value)


def test_points_evaluated_together_give_the_same_surface(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"dims": 1, "points": 5, "radius": 0.1}
    alone = scan(problem, **options)
    together: list[int] = []
    monkeypatch.setattr(Evaluator, "candidates_at_once", 2)
    logits_of = Evaluator.logits_of

    def counting(self: Evaluator, networks: Sequence[QuantizedNetwork], *rest: Any) -> list[Tensor]:
        together.append(len(networks))
        return logits_of(self, networks, *rest)

    monkeypatch.setattr(Evaluator, "logits_of", counting)
    for surface in (scan(problem, **options), scan(problem, out=tmp_path / "run", **options)):
        for name, value in alone.values.items():
            np.testing.assert_array_equal(surface.values[name], value)
    assert together == [2, 2, 1] * 2


def test_a_run_keeps_what_it_was_made_of(problem: Problem, tmp_path: Path) -> None:
    scan(problem, out=tmp_path / "run", dims=1, points=3)
    with RunStore.open(tmp_path / "run") as store:
        assert set(store.get_meta("versions")) >= {"evolq-landscape", "torch", "numpy"}
        assert store.get_meta("image_names") == list(problem.images.names)
        assert store.settings["calib_images_sha256"] and store.settings["weights_sha256"]
        np.testing.assert_array_equal(store.load_array("teacher"), problem.teacher.numpy())
