from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from landscape import refine as module
from landscape.cli.app import main
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.refine import RefineOptions, original_problem, refine
from landscape.scan import load_surface, scan
from landscape.setup import build, load_problem
from landscape.store import RunStore


@pytest.fixture(scope="module")
def problem():
    return load_problem(images=30, calib_images=20, infonce_batch=10)


@pytest.fixture(scope="module")
def line(problem, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "line"
    scan(problem, dims=1, points=5, radius=0.2, out=folder)
    return folder


@pytest.fixture(scope="module")
def plane(problem, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "plane"
    scan(problem, dims=2, points=3, radius=0.2, out=folder)
    return folder


def evaluated(problem, monkeypatch):
    """The points that are evaluated from now on."""
    points, evaluations = [], Problem.evaluations

    def noted(asked):
        for point in asked:
            points.append(point)
            yield point

    def watched(self, asked, progress=None):
        return evaluations(self, noted(asked), progress)

    monkeypatch.setattr(Problem, "evaluations", watched)
    return points


def test_a_refined_line_keeps_its_points_and_evaluates_new_ones_only(problem, line, tmp_path, monkeypatch):
    points = evaluated(problem, monkeypatch)
    surface = refine(problem, line, tmp_path / "fine", lines=3)
    before = load_surface(line)
    assert len(points) == 3 and surface.shape == (8,) and surface.complete
    kept = np.isin(surface.alpha, before.alpha)
    for name in before.names:
        assert (surface.values[name][kept] == before.values[name]).all()
    assert (surface.per_image["loss"][kept] == before.per_image["loss"]).all()


def test_new_points_are_where_they_say_and_worth_what_a_scan_finds_there(problem, line, tmp_path):
    surface = refine(problem, line, tmp_path / "fine", lines=2)
    with RunStore.open(line) as store:
        directions = torch.from_numpy(store.load_array("directions"))
    for number, alpha in enumerate(surface.alpha):
        (found,) = problem.evaluate([problem.space.at((float(alpha),), directions)])
        assert surface.values["loss"][number] == found.values["loss"]


def test_lines_are_added_in_the_gap_with_the_largest_change(problem, line, tmp_path, monkeypatch):
    """A staircase with one step, between 0.1 and 0.2: it is halved until the depth is reached, then the widest gaps."""

    def step(self, points, progress=None):
        for point in points:
            values = np.full(30, 0.0 if float(torch.log(point / self.space.centre).abs().max()) < 0.3 else 1.0)
            yield type("E", (), {"values": {"loss": values.mean()}, "per_image": {"loss": values}, "seconds": 0.0})

    monkeypatch.setattr(Problem, "evaluations", step)
    scan(problem, dims=1, points=5, radius=0.2, out=tmp_path / "steps")
    coarse = load_surface(tmp_path / "steps")
    (edge,) = np.flatnonzero(np.diff(coarse.values["loss"][2:])) + 2
    surface = refine(problem, tmp_path / "steps", tmp_path / "fine", lines=3, depth=4)
    added = surface.alpha[~np.isin(surface.alpha, coarse.alpha)]
    inside = (coarse.alpha[edge] < added) & (added < coarse.alpha[edge + 1])
    mirrored = (-coarse.alpha[edge + 1] < added) & (added < -coarse.alpha[edge])
    assert (inside | mirrored).all()


def test_noise_of_the_images_does_not_attract_lines(problem, line):
    """Changes count less what the choice of images adds: of noise alone nothing is left on average."""
    grid = module._Grid(load_surface(line), RefineOptions())
    generator = np.random.default_rng(0)
    changes = []
    for _ in range(2000):
        grid.images = {place: generator.normal(size=30) for place in grid.images}
        changes.append(grid._change(0, -0.1, 0.0))
    assert abs(np.mean(changes)) < 4 * np.std(changes) / np.sqrt(2000)


def test_a_refined_plane_is_a_whole_grid(problem, plane, tmp_path, monkeypatch):
    points = evaluated(problem, monkeypatch)
    surface = refine(problem, plane, tmp_path / "fine", lines=2)
    assert surface.complete and sum(surface.shape) == 3 + 3 + 2
    assert len(points) == surface.computed.size - 9


def test_a_zoom_computes_inside_its_region_only_and_keeps_the_centre(problem, plane, tmp_path, monkeypatch):
    points = evaluated(problem, monkeypatch)
    surface = refine(problem, plane, tmp_path / "zoom", lines=2, alpha=(0.0, 0.2), beta=(-0.2, 0.0))
    assert surface.beta is not None
    assert (surface.alpha >= 0).all() and (surface.beta <= 0).all()
    assert surface.complete and surface.values["loss"][surface.centre_index] == load_surface(plane).values["loss"][1, 1]
    assert len(points) == surface.computed.size - 4


def test_a_zoom_off_the_centre_leaves_the_rest_of_its_lines_unknown(problem, tmp_path):
    scan(problem, dims=2, points=5, radius=0.2, out=tmp_path / "plane")
    surface = refine(problem, tmp_path / "plane", tmp_path / "zoom", lines=1, alpha=(0.05, 0.25), beta=(0.05, 0.25))
    assert surface.beta is not None
    region = (surface.alpha[:, None] > 0) & (surface.beta > 0)
    assert surface.computed[region].all() and surface.computed[surface.centre_index]
    assert surface.computed.sum() == region.sum() + 1


def test_a_refined_run_can_be_refined_again_and_measured(problem, line, tmp_path):
    refine(problem, line, tmp_path / "one", lines=2)
    surface = refine(problem, tmp_path / "one", tmp_path / "two", lines=2)
    assert surface.shape == (9,) and surface.complete
    assert np.isfinite(surface.roughness(draws=10)["second_difference"].floor)


def test_an_interrupted_refinement_ends_as_an_uninterrupted_one(problem, line, tmp_path, monkeypatch):
    whole = refine(problem, line, tmp_path / "whole", lines=4)
    evaluations, left = Problem.evaluations, [2]

    def failing(self, asked, progress=None):
        for found in evaluations(self, asked, progress):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Problem, "evaluations", failing)
    with pytest.raises(KeyboardInterrupt):
        refine(problem, line, tmp_path / "parts", lines=4)
    monkeypatch.setattr(Problem, "evaluations", evaluations)
    points = evaluated(problem, monkeypatch)
    resumed = refine(problem, line, tmp_path / "parts", lines=4, resume=True)
    assert len(points) == 2
    assert (resumed.alpha == whole.alpha).all() and (resumed.values["loss"] == whole.values["loss"]).all()


def test_the_problem_of_a_run_is_gathered_again_from_its_settings(line):
    ingredients, arrays = original_problem(line)
    again = build(ingredients, stored=arrays)
    assert torch.equal(again.centre, torch.from_numpy(arrays["centre"])) and len(again.images) == 30


def test_the_command_refines_and_says_what_it_wrote(line, tmp_path, capsys):
    assert main(["refine", str(line), "--out", str(tmp_path / "fine"), "--lines", "1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["done"] == record["points"] == 6 and record["refined_from"] == str(line)
    assert all((tmp_path / "fine" / name).exists() for name in ("surface.png", "surface.html"))
    assert main(["refine", str(line), "--out", str(tmp_path / "zoom"), "--alpha=-0.2,0.0", "--lines", "1"]) == 0
    assert load_surface(tmp_path / "zoom").shape == (4,)
    assert main(["refine", str(line), "--out", str(tmp_path / "none"), "--alpha=5,6"]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lines": 0}, "--lines 0 adds nothing"),
        ({"alpha": (0.1,)}, "--alpha needs a region as low,high"),
        ({"alpha": (0.01, 0.02)}, "holds 0 of the run's lines, which lie from -0.2 to 0.2 in steps of 0.1"),
        ({"beta": (0.0, 0.2)}, "this run is a line"),
        ({"value": "accuracy"}, "no value 'accuracy'"),
        ({"lines": 9, "depth": 1}, "every gap has been halved 1 times"),
        ({"points": 3}, "unknown option 'points'"),
    ],
)
def test_a_mistake_is_told_in_one_line(problem, line, tmp_path, options, told):
    with pytest.raises(UserError, match=told):
        refine(problem, line, tmp_path / "fine", **options)
