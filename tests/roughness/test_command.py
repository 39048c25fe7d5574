from __future__ import annotations

import json

import pytest

from landscape.cli.app import main
from landscape.scan import scan
from landscape.setup import load_problem


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "line"
    scan(load_problem(images=60, calib_images=20, infonce_batch=12), dims=1, points=7, out=folder)
    return str(folder)


def test_the_table_tells_measures_floors_population_and_replication(run, capsys):
    assert main(["roughness", run, "--draws", "50"]) == 0
    out = capsys.readouterr().out
    for part in ("roughness of loss: 7 points, 60 images", "RMS second difference", "floor", "population", "halves"):
        assert part in out


def test_json_has_every_measure_by_name(run, capsys):
    assert main(["roughness", run, "--draws", "50", "--value", "all", "--ranks", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["value"] == "loss" and record["run"] == run
    assert {"value", "low", "high", "floor", "unit"} <= set(record["measures"]["second_difference"])
    assert {"estimate", "low", "high", "sample_part", "images_needed"} <= set(record["population"]["jaggedness"])
    assert record["replication"]["second_differences"].keys() == {"mean", "low", "high"}
    assert record["values"]["infonce"]["population"]["variance"]["unit_images"] == 12
    assert record["values"]["flip_rate"]["population"] is None
    assert {row["value"] for row in record["ranks"]} == {"top1", "infonce"}


def test_a_run_on_calibration_images_is_compared(run, tmp_path, capsys):
    problem = load_problem(images=60, calib_images=20, infonce_batch=12, split="train")
    scan(problem, dims=1, points=7, out=tmp_path / "train")
    arguments = ["roughness", run, "--draws", "50", "--calibration", str(tmp_path / "train")]
    assert main(arguments) == 0
    assert "rank correlation" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    gap = json.loads(capsys.readouterr().out)["gaps"]["loss"]
    assert gap["gap_low"] <= gap["gap"] <= gap["gap_high"] and len(gap["surface"]) == 7


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--value", "accuracy"], "no value 'accuracy'; it has loss, top1, infonce, flip_rate"),
        (["--level", "95"], "--level 95 is no share"),
        (["--draws", "0"], "--draws 0"),
        (["--images", "100"], "100 images are asked for, and the run has 60"),
        (["--seed", "-1"], "--seed -1 is negative"),
    ],
)
def test_a_mistake_is_told_in_one_line(run, arguments, told, capsys):
    assert main(["roughness", run, *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
