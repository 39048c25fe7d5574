"""Runs of optimizers on a network: stored, resumed, judged once on the test images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import evolq
from evolq.comparison import compare, comparison_record, comparison_rows, paired, parse_methods
from evolq.run import MethodOptions, open_study_run, run_method
from landscape.cli import main
from landscape.errors import UserError
from landscape.quant.parameters import load_quantized
from landscape.store import RunStore, TrajectoryTable
from landscape.trajectory import SELECTED_ON_TEST, load_trajectories

OPTIONS = ["--bits", "w3a8", "--calib-images", "20", "--search-images", "40", "--images", "30", "--infonce-batch", "20"]


def test_five_lines_of_python_find_a_network_that_can_be_saved(study, tmp_path):
    found = evolq.optimize(study, "evolq/released")
    found.save(tmp_path / "found.safetensors")
    again = load_quantized(tmp_path / "found.safetensors", study.search.network.graph)
    for name in again.scale_names():
        assert np.array_equal(again.scale(name).numpy(), found.network.scale(name).numpy())
    start, end = found.result["start"]["search"], found.result["end"]["search"]
    assert end["infonce"] <= start["infonce"] == pytest.approx(found.trajectory.value[0], rel=1e-14)
    assert end["infonce"] == pytest.approx(found.trajectory.best[-1], rel=1e-14)
    assert found.trajectory.cost[-1] == 400 and len(found.trajectory) == 11


def test_what_was_found_is_a_small_table_in_a_notebook_with_escaped_names(study):
    found = evolq.optimize(study, "random", search_seed=3)
    shown = found._repr_html_()
    assert "<b>random, seed 3</b>" in shown and "400 images" in shown
    for row in ("search infoNCE", "test cross-entropy", "test top-1"):
        assert f"<td>{row}</td>" in shown
    assert repr(found).startswith("Found(Trajectory(random, ") and len(repr(found)) < 200
    found.trajectory = replace(found.trajectory, label="<b>")
    assert "&lt;b&gt;, seed 3" in found._repr_html_()


QUICK = {
    "evolq/ours": "steps=5,top=3,images=10,batch=10,check=2,descent=0.7",
    "hessian": "steps=5,images=10",
    "ptq4vit": "steps=5,images=10",
}
"""Settings that make a method quick."""


@pytest.mark.parametrize("method", ["evolq/ours", "hessian", "ptq4vit", "brecq", "omse", "adam", "coordinate"])
def test_every_kind_of_method_runs_on_a_network(study, method):
    found = evolq.optimize(study, method, settings=QUICK.get(method))
    assert found.result["spent"] <= 400
    assert found.trajectory.cost[-1] <= 400
    assert np.isfinite(list(found.result["end"]["test"].values())).all()


def test_the_layer_wise_choice_has_the_least_output_error_of_its_grid(study):
    from evolq.layerwise import Grid, choose_all, collect
    from landscape.quant.calibrate import float_values

    network, images = study.search.network, study.search.images.select(range(10))
    layer = "blocks.2.mlp.fc1"
    grid = Grid(steps=5, zero_points=1)
    (found,) = choose_all(network, collect(network, images, "inputs", [layer]), grid, top=3).values()
    node = network.graph[layer]
    for reader, value in float_values(network.graph, images.normalized()):
        if reader.name == node.inputs[0]:
            x = value.reshape(-1, value.shape[-1])
    best = np.full(node.weight.shape[0], np.inf)
    for factor in grid.factors():
        for shift in grid.shifts():
            scale = network.weights[layer].scale * factor
            zero_point = (network.weights[layer].zero_point + shift).clamp(0, 7)
            moved = network.with_parameters({f"{layer}.weight": scale}, {f"{layer}.weight": zero_point})
            change = moved.operand(layer).dequantized().reshape(node.weight.shape) - node.weight.double()
            best = np.minimum(best, (x @ change.T).square().sum(0).numpy())
    np.testing.assert_allclose(found.error[0].numpy(), best, rtol=1e-3)
    assert (found.error[0] <= found.error[1]).all() and (found.error[0] <= found.start).all()


def test_a_budget_that_does_not_pay_for_the_statistics_leaves_the_start(study):
    small = evolq.Study(evolq.SearchOptions(search_images=40, budget=20), study.ingredients, study.search, study.test)
    for method in ("hessian", "evolq/ours"):
        found = evolq.optimize(small, method)
        assert not found.point.any() and found.result["spent"] <= 20


def numbers(trajectory):
    columns = ("cost", "value", "best", "block", "accepted", "images")
    return [getattr(trajectory, name).tobytes() for name in columns]


@pytest.mark.parametrize(
    ("method", "records"), [("evolq/released", 3), ("evolq/ours", 3), ("evolq/ours", 8), ("cmaes", 1), ("sgd", 3)]
)
def test_an_interrupted_run_goes_on_bit_for_bit(study, tmp_path, method, records, monkeypatch):
    settings = QUICK.get(method)
    whole = evolq.optimize(study, method, out=tmp_path / "whole", settings=settings)
    options = MethodOptions(method=method, settings=settings)
    append, left = TrajectoryTable.append, [records]

    def stop(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        append(*args)

    monkeypatch.setattr(TrajectoryTable, "append", stop)
    with (
        open_study_run(tmp_path / "parts", study, [options], False) as store,
        pytest.raises(KeyboardInterrupt),
    ):
        run_method(study, options, store)
    monkeypatch.setattr(TrajectoryTable, "append", append)
    resumed = evolq.optimize(study, method, out=tmp_path / "parts", resume=True, settings=settings)
    assert numbers(resumed.trajectory) == numbers(whole.trajectory)
    assert resumed.point.tobytes() == whole.point.tobytes()


@pytest.mark.slow
def test_a_run_survives_being_killed(tmp_path):
    command = [sys.executable, "-c", "import sys; from landscape.cli import main; sys.exit(main(sys.argv[1:]))"]
    arguments = ["optimize", *OPTIONS, "--method", "random", "--budget", "4000", "--out", str(tmp_path / "run")]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL, env={**os.environ})
    database = tmp_path / "run" / "run.sqlite"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if database.exists() and len(stored(tmp_path / "run")) > 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = stored(tmp_path / "run")
    assert 2 < len(before) < 101
    assert main([*arguments, "--resume", "--json"]) == 0
    after = stored(tmp_path / "run")
    assert len(after) == 101 and after[: len(before)] == before


def stored(folder):
    with RunStore.open(folder) as store:
        table = TrajectoryTable(store)
        return [value for name in table.names() for value in table.steps(name)["value"].tolist()]


def test_the_command_line_runs_and_prints_and_resumes(tmp_path, capsys):
    arguments = ["optimize", *OPTIONS, "--method", "evolq/released", "--budget", "400", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["spent"] == 400 and first["selected_on_test"] is False
    assert main([*arguments, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--loss", "kl"]) == 2
    assert "loss: " in capsys.readouterr().err
    (trajectory,) = load_trajectories(tmp_path / "run")
    assert trajectory.finished and trajectory.label == "evolq (released)"
    assert (tmp_path / "run" / "networks" / "evolq-released-seed0.safetensors").is_file()


def test_compare_on_the_command_line(tmp_path, capsys):
    methods = ["--methods", "evolq/released,random", "--seeds", "2", "--budget", "120", "--out", str(tmp_path / "run")]
    assert main(["compare", *OPTIONS, *methods]) == 0
    table = capsys.readouterr().out
    assert "evolq (released)" in table and "top-1 to start" in table
    assert main(["compare", *OPTIONS, *methods, "--resume", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [entry["spent"] for entry in record["methods"]] == [[120, 120], [120, 120]]
    assert main(["compare", *OPTIONS, *methods, "--resume", "--methods", "random"]) == 2
    assert "methods" in capsys.readouterr().err


def test_an_optimizer_in_a_file_of_ones_own_appears_as_a_method(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from evolq import Optimizer, Query\n"
        "class Mine(Optimizer):\n"
        "    def ask(self):\n"
        "        return Query(self.generator.normal(0.0, 0.01, (2, self.space.dimension)))\n"
        "    def tell(self, answer):\n"
        "        return [False, False]\n"
    )
    arguments = ["optimize", *OPTIONS, "--budget", "200", "--out", str(tmp_path / "run"), "--json", "--method"]
    assert main([*arguments, f"{tmp_path}/mine.py:Mine"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 6
    for name, words in [
        (f"{tmp_path}/mine.py:Other", "has no attribute 'Other'"),
        (f"{tmp_path}/none.py:Mine", "there is no file"),
        ("evolk", "did you mean evolq"),
        ("evolq/best", "has no preset 'best'; it has released, relative, ours"),
    ]:
        assert main([*arguments[:-2], "--out", str(tmp_path / "other"), "--method", name]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("head", ["", "from __future__ import annotations\n"], ids=["plain", "postponed"])
def test_an_optimizer_in_a_file_has_settings_of_its_own_and_may_import_its_neighbours(head, tmp_path, capsys):
    (tmp_path / "random.py").write_text(  # a name that a module of Python has too
        head + "from dataclasses import dataclass\n"
        "from evolq import Optimizer, Query\n"
        "from neighbour_of_mine import Half\n"
        "@dataclass(frozen=True)\n"
        "class Options:\n"
        "    points: int = 2\n"
        "    width: float | None = None\n"
        "class Mine(Optimizer):\n"
        "    Options = Options\n"
        "    def ask(self):\n"
        "        width = Half if self.options.width is None else self.options.width\n"
        "        return Query(self.generator.normal(0.0, width, (self.options.points, self.space.dimension)))\n"
        "    def tell(self, answer):\n"
        "        return [False] * self.options.points\n"
    )
    (tmp_path / "neighbour_of_mine.py").write_text("Half = 0.5\n")
    method = ["optimize", *OPTIONS, "--budget", "200", "--json", "--method", f"{tmp_path}/random.py:Mine"]
    for number, (settings, points) in enumerate([("points=5,width=1e-3", 6), ("points=1,width=none", 6)]):
        assert main([*method, "--out", str(tmp_path / str(number)), "--settings", settings]) == 0
        assert json.loads(capsys.readouterr().out)["points"] == points
    assert main([*method, "--out", str(tmp_path / "other"), "--settings", "points=1.5"]) == 2
    assert "points=1.5: expected a value of type int" in capsys.readouterr().err
    assert not hasattr(sys.modules["random"], "Mine")


def test_what_is_selected_on_the_test_set_says_so_everywhere(study, tmp_path):
    chosen = evolq.SearchOptions(search_images=40, budget=400, select_on_test=True)
    peeking = evolq.Study(chosen, study.ingredients, study.search, study.test)
    methods = parse_methods("evolq/released", 1)
    with open_study_run(tmp_path / "run", peeking, methods, False) as store:
        entries = compare(peeking, methods, store)
    record = comparison_record(entries, peeking)
    assert record["methods"][0]["selected_on_test"] is True
    assert SELECTED_ON_TEST in comparison_rows(record)[-1][0]
    (trajectory,) = load_trajectories(tmp_path / "run")
    assert SELECTED_ON_TEST in trajectory.label and trajectory.selected_on_test
    assert trajectory.result["test_looks"] > 1
    honest = evolq.optimize(study, "evolq/released")
    assert trajectory.result["end"]["test"]["top1"] >= honest.result["end"]["test"]["top1"]
    assert honest.result["test_looks"] == 0 and not honest.trajectory.selected_on_test


def test_a_comparison_is_made_at_equal_budget_with_paired_differences(study, tmp_path):
    methods = parse_methods("evolq/released,random,omse", 2)
    with open_study_run(tmp_path / "run", study, methods, False) as store:
        entries = compare(study, methods, store)
        again = compare(study, methods, store)  # all finished: only read
    record = comparison_record(entries, study)
    assert record == comparison_record(again, study)
    assert [entry["method"] for entry in record["methods"]] == ["evolq/released", "random", "omse"]
    evolutionary, random, omse = record["methods"]
    assert evolutionary["spent"] == random["spent"] == [400, 400] and omse["spent"] == [40, 40]
    assert "test_to_evolq" not in evolutionary and "test_to_evolq" in random
    difference = random["search"]["infonce"]["mean"] - record["start"]["search"]["infonce"]
    assert random["search_to_start"]["infonce"]["mean"] == pytest.approx(difference, abs=1e-12)
    assert omse["test"]["infonce"]["seeds_sd"] == 0.0
    assert len(comparison_rows(record)) == 6


def test_a_paired_interval_covers_images_and_seeds():
    same = paired(np.full((3, 50), 0.25))
    assert [same.low, same.high, same.mean] == pytest.approx([0.25] * 3, rel=1e-12)
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sample = generator.normal(0.1, 1.0, (1, 100))
        found = paired(sample, draws=400, seed=trial)
        covered += found.low <= 0.1 <= found.high
    assert 0.90 <= covered / 200 <= 0.985
    seeds = np.repeat(np.array([[0.0], [1.0], [2.0]]), 40, axis=1)
    assert paired(seeds).high - paired(seeds).low > 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("random,random", "twice"), ("random,nothing", "unknown method 'nothing'")],
)
def test_lists_of_methods_that_make_no_sense_are_told(text, words):
    with pytest.raises(UserError, match=words):
        parse_methods(text, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [("passes", "not of the form"), ("speed=3", "has no setting 'speed'"), ("passes=many", "expected a value of type")],
)
def test_settings_of_a_method_are_checked(study, settings, words):
    with pytest.raises(UserError, match=words):
        evolq.optimize(study, "evolq/released", settings=settings)


def test_options_that_belong_elsewhere_are_told_where(study):
    with pytest.raises(UserError) as caught:
        evolq.optimize(study, "random", budget=500)
    told = str(caught.value)
    assert "optimize has no option 'budget'; options are settings, scales," in told
    assert "settings='name=value,...': smallest, largest" in told and "Budget and loss go to load_study" in told


def test_a_study_shows_itself_in_one_line(study):
    shown = f"40 search and 30 test images, engine {study.search.engine})"
    task = "infonce with a budget of 400 images"
    assert repr(study) == f"Study(digits_vit w3a8, scales of each method's choice, {task}, {shown}"
    block = replace(study.ingredients, options=replace(study.ingredients.options, block=4))
    shown = repr(replace(study, ingredients=block))
    assert ", scales of blocks.4.attn.qkv.weight, blocks.4.attn.proj.weight, " in shown


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("needs attention, and this network has none; use --scales weights", ["--method", "evolq/released"]),
        ("has no setting 'speed'", ["--method", "random", "--settings", "speed=3"]),
    ],
)
def test_what_a_method_cannot_use_is_found_before_the_long_work(tmp_path, capsys, monkeypatch, words, asked):
    def build(*_: object, **__: object) -> None:
        raise AssertionError("the long work has begun")

    monkeypatch.setattr("evolq.cli.build_study", build)
    assert main(["optimize", "--model", "digits_cnn", "--out", str(tmp_path / "run"), *asked]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_settings_come_in_the_types_of_the_method(study):
    options = MethodOptions(method="evolq/released", settings="passes=1, relative=true, mutation=0.02")
    optimizer = options.optimizer(study.objective(options.space()), 400)
    assert optimizer.options.passes == 1 and optimizer.options.relative and optimizer.options.mutation == 0.02
