"""``landscape scan`` and its companions, as a user runs them."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from landscape.cli import main
from landscape.errors import UserError
from landscape.models import load_model
from landscape.store import RunStore

QUICK = ["--images", "40", "--calib-images", "20", "--points", "3", "--engine", "reference"]


def output(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "line"
    assert main(["scan", "--block", "5", "--dims", "1", "--out", str(folder), *QUICK]) == 0
    return folder


def test_a_scan_prints_one_json_object_with_all_that_a_program_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", "--block", "5", "--out", str(tmp_path / "run"), "--json", *QUICK]) == 0
    record = output(capsys)
    assert record["run"] == str(tmp_path / "run") and record["model"] == "digits_vit" and record["bits"] == "w4a8"
    assert record["points"] == record["done"] == 9
    for network in ("float", "centre"):
        assert set(record[network]) >= {"loss", "top1"}
    assert record["seconds"] > 0 and record["images_per_second"] > 0
    for file in record["files"]:
        assert Path(file).stat().st_size > 1000
    assert {Path(file).name for file in record["files"]} == {"surface.png", "surface.html"}


def test_a_scan_ends_with_a_table_of_float_centre_best_worst_and_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", "--layers", "blocks.1.*", "--dims", "1", "--out", str(tmp_path / "run"), *QUICK]) == 0
    text = capsys.readouterr().out
    for words in ("float network", "quantized, centre", "best by loss", "worst by loss", "spread (sd)"):
        assert words in text


def test_the_centre_of_the_table_is_the_row_with_coordinate_zero_and_no_flips(finished: Path, tmp_path: Path) -> None:
    assert main(["table", str(finished), "--csv", str(tmp_path / "t.csv")]) == 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["alpha", "beta", "loss", "top1", "infonce", "flip_rate"]
    assert table["alpha"].tolist() == [-0.05, 0.0, 0.05] and table["beta"].isna().all()
    assert table["flip_rate"][1] == 0.0 and table["flip_rate"][0] > 0.0


def test_show_tells_settings_and_what_is_not_quantized(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(finished)]) == 0
    text = capsys.readouterr().out
    assert "finished, 3 of 3 points" in text and "digits_vit" in text and "not quantized:" in text
    assert main(["show", str(finished), "--layers"]) == 0
    assert "blocks.5.attn.qkv" in capsys.readouterr().out
    assert main(["show", str(finished), "--json"]) == 0
    record = output(capsys)
    assert record["settings"]["block"] == 5 and record["status"] == "finished" and record["float_parts"]
    assert len(record["layers"]) > 20


def test_a_finished_run_is_left_as_it_is(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "run.sqlite").read_bytes()
    assert main(["scan", "--block", "5", "--dims", "1", "--out", str(finished), "--resume", *QUICK]) == 0
    assert "finished already" in capsys.readouterr().err
    assert (finished / "run.sqlite").read_bytes() == before


def test_other_settings_are_refused_and_named(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["scan", "--block", "4", "--dims", "1", "--out", str(finished), "--resume", *QUICK]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "block: 5 in the run, 4 asked for" in error and error.count("\n") == 1


def test_a_folder_with_a_run_is_not_written_over(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", "--block", "5", "--dims", "1", "--out", str(finished), *QUICK]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_without_out_each_run_gets_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["scan", "--block", "0", "--dims", "1", *QUICK]) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        "digits_vit-w4a8-block0-1d",
        "digits_vit-w4a8-block0-1d-2",
    ]


def test_a_user_network_and_a_folder_of_images_are_scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def factory():\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 2))\n"
    )
    write_images(tmp_path / "data", 6)
    arguments = ["scan", "--model", f"{tmp_path}/net.py:factory", "--data", str(tmp_path / "data"), "--crop", "16"]
    arguments += ["--resize", "none", "--layers", "*", "--dims", "1", "--points", "3", "--calib-images", "6"]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--json"]) == 0
    assert output(capsys)["done"] == 3


PLAIN = """
from torch import nn
def f():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
"""


def write_images(folder: Path, count: int, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    generator = torch.Generator().manual_seed(0)
    for split in ("train", "val"):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for index in range(count // len(classes)):
                pixels = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / split / name / f"{index}.png")


def test_a_run_continues_when_the_same_weights_lie_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save(load_model("digits_vit").module.state_dict(), tmp_path / name)
    arguments = ["scan", "--block", "5", "--dims", "1", "--out", str(tmp_path / "run"), *QUICK]
    assert main([*arguments, "--weights", str(tmp_path / "a.pt")]) == 0
    assert main([*arguments, "--weights", str(tmp_path / "b.pt"), "--resume"]) == 0
    assert "finished already" in capsys.readouterr().err


def test_the_table_is_printed_also_where_no_pictures_can_be_written(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:  # root, who runs some of these tests, may write anywhere
        raise UserError("cannot write") from PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("landscape.plots.save_surface", refused)
    assert main(["scan", "--block", "5", "--dims", "1", "--out", str(finished), "--resume", *QUICK]) == 2
    written = capsys.readouterr()
    assert "best by loss" in written.out
    assert f"draw them elsewhere: landscape plot {finished} --out FOLDER" in written.err


@pytest.mark.parametrize(
    ("command", "work"), [("scan", "landscape.cli.scan.build"), ("compare", "evolq.cli.build_study")]
)
def test_ctrl_c_before_anything_is_stored_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, work: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, interrupted)
    for out in ([], ["--out", "a/run"]):
        assert main([command, "--block", "5", "--images", "5", "--calib-images", "5", *out]) == 130
        assert capsys.readouterr().err.endswith("\ninterrupted; nothing was stored\n")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_a_run_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape.cli.scan.continue_scan", interrupted)
    assert main(["scan", "--block", "5", "--out", str(tmp_path / "run"), *QUICK]) == 130
    assert capsys.readouterr().err.endswith("\ninterrupted; what is stored is safe: continue with --resume\n")
    assert RunStore.exists(tmp_path / "run")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# ---- bad input: one line, exit code 2, before any long work ------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "digits_vitt"], "did you mean digits_vit"),
        (["--block", "8"], "attention blocks 0 to 7"),
        (["--block", "-1"], "attention blocks 0 to 7"),
        (["--layers", "layer9.*"], "selects nothing; names are like"),
        (["--model", "digits_cnn", "--block", "0"], "--block needs attention"),
        (["--images", "2000"], "2000 images were asked for"),
        (["--points", "4"], "must be odd"),
        (["--radius", "0"], "must be positive"),
        (["--radius", "-0.1"], "must be positive"),
        (["--bits", "w1a8"], "weight bits 1 is out of range"),
        (["--bits", "four"], "not understood"),
        (["--dims", "3"], "give 1 for a line or 2 for a plane"),
        (["--direction", "up"], "is unknown; give one of"),
        (["--which", "bias"], "is unknown; give one of"),
        (["--losses", "los"], "unknown loss 'los'"),
        (["--split", "test"], "--split 'test' is unknown"),
        (["--preset", "best"], "unknown preset"),
        (["--engine", "steam"], "unknown engine"),
        (["--resume"], "--resume needs --out"),
        (["--data", "nowhere"], "nowhere"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--model", "resnet18", "--layers", "*"], "bundled digits are 8x8"),
        (["--seed", "-1"], "seed"),
        (["--cache-gb", "nan"], "--cache-gb nan is not possible"),
        (["--cache-gb", "inf"], "--cache-gb inf is not possible"),
        (["--cache-gb", "-1"], "--cache-gb -1 is not possible"),
    ],
)
def test_a_bad_option_is_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("landscape.cli.scan.build", lambda *_, **__: pytest.fail("the long work started"))
    assert main(["scan", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unfit_weights_name_what_is_missing_and_unexpected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"nothing.weight": torch.zeros(2)}, tmp_path / "w.pt")
    assert main(["scan", "--weights", str(tmp_path / "w.pt")]) == 2
    error = capsys.readouterr().err
    assert "nothing.weight" in error and "cls_token" in error


def test_a_pickle_of_anything_else_than_tensors_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Path("x")))
    assert main(["scan", "--weights", str(tmp_path / "w.pt")]) == 2
    assert "w.pt" in capsys.readouterr().err


def test_a_broken_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "data", 4)
    (tmp_path / "data" / "val" / "cat" / "0.png").write_bytes(b"no image")
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef f():\n    return nn.Sequential(nn.Flatten(), nn.Linear(768, 2))\n"
    )
    arguments = ["--model", f"{tmp_path}/net.py:f", "--data", str(tmp_path / "data"), "--crop", "16", "--layers", "*"]
    assert main(["scan", *arguments, "--calib-images", "2", "--resize", "none"]) == 2
    assert "val/cat/0.png" in capsys.readouterr().err


def test_class_counts_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "data", 6, ("cat", "cow", "dog"))
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef f():\n    return nn.Sequential(nn.Flatten(), nn.Linear(768, 2))\n"
    )
    arguments = ["--model", f"{tmp_path}/net.py:f", "--data", str(tmp_path / "data"), "--crop", "16", "--layers", "*"]
    assert main(["scan", *arguments, "--calib-images", "2", "--resize", "none"]) == 2
    assert "3" in (error := capsys.readouterr().err) and "2" in error


def test_an_out_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("")
    assert main(["scan", "--block", "5", "--out", str(tmp_path / "run"), *QUICK]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_table_or_report_below_a_file_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["table", str(finished), "--csv", str(file / "t.csv")]) == 2
    assert f"the folder {file} does not exist" in capsys.readouterr().err
    assert main(["report", str(finished), "--out", str(file / "a" / "r.html")]) == 2
    assert f"{file} is a file, expected a folder" in capsys.readouterr().err


def test_show_says_whether_a_run_is_of_optimize_or_of_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for methods, kind in ((["random"], "optimize"), (["random", "adam"], "compare")):
        RunStore.create(tmp_path / kind, {"kind": "optimize", "methods": methods}).close()
        assert main(["show", str(tmp_path / kind)]) == 0
        assert capsys.readouterr().out.startswith(f"{kind} in ")


def test_show_and_table_of_no_run_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "table"):
        assert main([command, str(tmp_path)]) == 2
        assert "there is no run in" in capsys.readouterr().err


# ---- killed and continued ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("points_before", [1, 4])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_scan_continues_to_the_values_of_an_uninterrupted_one(
    tmp_path: Path, points_before: int, signal_number: int
) -> None:
    options = ["--block", "5", "--images", "60", "--calib-images", "20", "--points", "5", "--engine", "reference"]
    program = [sys.executable, "-c", "import sys; from landscape.cli import main; sys.exit(main(sys.argv[1:]))"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["scan", *options, "--out", str(whole)]) == 0

    command = [*program, "scan", *options, "--out", str(killed)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while points_stored(killed) < points_before and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal_number)
    process.wait(60)
    assert points_before <= points_stored(killed) < 25

    assert main(["scan", *options, "--out", str(killed), "--resume"]) == 0
    for folder in (whole, killed):
        assert main(["table", str(folder), "--csv", str(folder.with_suffix(".csv"))]) == 0
    assert whole.with_suffix(".csv").read_bytes() == killed.with_suffix(".csv").read_bytes()
    with RunStore.open(whole) as first, RunStore.open(killed) as second:
        for name in ("loss", "infonce", "top1"):
            assert (first.per_image(name)[1] == second.per_image(name)[1]).all()


def points_stored(folder: Path) -> int:
    if not RunStore.exists(folder):
        return 0
    with RunStore.open(folder) as store:
        return len(store.done())


@pytest.mark.slow
def test_real_networks_score_what_the_data_says(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared_data / "weights" / "deit_tiny_patch16_224.safetensors"
    arguments = ["scan", "--model", "deit_tiny_patch16_224", "--weights", str(weights), "--block", "5", "--dims", "1"]
    arguments += ["--data", str(shared_data / "imagenet-mini"), "--resize", "none", "--crop", "224", "--points", "3"]
    assert main([*arguments, "--calib-images", "16", "--json", "--out", str(tmp_path / "run")]) == 0
    assert output(capsys)["float"]["top1"] == pytest.approx(81.1, abs=0.05)
