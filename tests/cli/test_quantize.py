"""``landscape quantize`` and ``--quantized``, as a user runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from landscape.cli import main
from landscape.quant.parameters import read_about
from landscape.setup import load_problem

QUICK = ["--calib-images", "10", "--weight-observer", "minmax"]
OPTIONS: dict[str, Any] = {"calib_images": 10, "weight_observer": "minmax"}


def made(path: Path, *arguments: str) -> Path:
    assert main(["quantize", "--out", str(path), *QUICK, *arguments]) == 0
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("files") / "digits.safetensors", "--bits", "w4a8s4")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ") and "\n" not in text
    return text


def test_a_quantized_file_gives_the_values_of_the_calibration_that_made_it(file: Path) -> None:
    chosen: dict[str, Any] = {"images": 20, "engine": "reference", "block": 5}
    calibrated = load_problem(bits="w4a8s4", **OPTIONS, **chosen)
    loaded = load_problem(quantized=str(file), **chosen)
    assert loaded.network.scheme == calibrated.network.scheme and torch.equal(loaded.centre, calibrated.centre)
    points = [calibrated.centre, calibrated.centre * 1.05]
    for one, other in zip(calibrated.evaluate(points), loaded.evaluate(points), strict=True):
        assert one.values == other.values
        assert all(np.array_equal(one.per_image[name], other.per_image[name]) for name in one.per_image)


def test_the_file_says_where_it_comes_from(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["format"] == "evolq-landscape quantized network 1"
        assert json.loads(opened.metadata()["scheme"])["softmax_bits"] == 4
    about = read_about(file)
    assert about["model"] == "digits_vit" and about["preset"] == "default" and about["bits"] == "w4a8s4"
    images = about["calibration"]
    assert images["count"] == len(images["names"]) == 10 and images["names"][0].startswith("digits/")
    assert (images["source"], images["split"], images["seed"], len(images["sha256"])) == ("digits", "train", 0, 64)
    assert {"python", "torch", "timm", "numpy", "evolq-landscape"} <= set(about["versions"])
    assert len(about["weights_sha256"]) == 64


def test_the_names_in_the_file_are_those_of_the_networks_modules(file: Path) -> None:
    names = set(load_file(file))
    assert {"blocks.5.attn.qkv.weight.scale", "blocks.5.attn.softmax.output.zero_point"} <= names
    assert "blocks.5.residual.output.exponents" in names


def test_json_holds_the_table_and_what_stays_float(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    made(tmp_path / "q", "--preset", "fq-vit", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["file"] == str(tmp_path / "q") and record["bits"] == "w4a8s4"
    rows = {row["name"]: row for row in record["quantizers"]}
    assert rows["blocks.0.attn.softmax.output"]["observer"] == "log2"
    assert rows["blocks.0.attn.qkv.weight"]["channels"] == 144
    assert any(part.startswith("biases of 34 layers") for part in record["float_parts"])


def test_without_json_a_short_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    made(tmp_path / "q")
    text = capsys.readouterr().out
    assert "weight" in text and "residual" in text and "ptf" in text and f"--quantized {tmp_path / 'q'}" in text


def test_what_the_file_decides_is_not_shown_as_if_it_had_been_chosen(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--images", "5", "--dims", "1", "--points", "3"]
    assert main(["scan", "--quantized", str(file), *grid, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert f"quantized      {file}" in text and "preset" not in text


def test_a_folder_without_test_images_will_do(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label in range(10):
        folder = tmp_path / "data" / "train" / f"class{label}"
        folder.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / "image.png")
    made(tmp_path / "q", "--data", str(tmp_path / "data"))
    assert read_about(tmp_path / "q")["calibration"]["source"] == str(tmp_path / "data")


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "q"
    path.write_text("precious")
    assert "--overwrite" in refusal(capsys, "quantize", "--out", str(path), *QUICK)
    assert path.read_text() == "precious"
    made(path, "--overwrite")
    assert path.stat().st_size > 1000


def test_places_that_cannot_be_written_are_found_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a folder" in refusal(capsys, "quantize", "--out", str(tmp_path))
    assert "does not exist" in refusal(capsys, "quantize", "--out", str(tmp_path / "nowhere" / "q"))
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        assert "read-only" in refusal(capsys, "quantize", "--out", str(tmp_path / "locked" / "q"))


def test_bad_options_are_one_line(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "q")]
    assert "w4a8" in refusal(capsys, "quantize", *out, "--bits", "4")
    assert "2 to 8" in refusal(capsys, "quantize", *out, "--bits", "w1a8")
    assert "fq-vit" in refusal(capsys, "quantize", *out, "--preset", "fqvit")
    assert "leave out --quantized" in refusal(capsys, "quantize", *out, "--quantized", str(file))
    assert not (tmp_path / "q").exists()


def scan_refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, path: Path, *arguments: str) -> str:
    return refusal(
        capsys, "scan", "--quantized", str(path), "--out", str(tmp_path / "run"), "--images", "5", *arguments
    )


def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "was made for weights" in scan_refusal(capsys, tmp_path, file, "--model", "digits_cnn")
    assert "leave out --bits" in scan_refusal(capsys, tmp_path, file, "--bits", "w8a8")
    assert "leave out --preset" in scan_refusal(capsys, tmp_path, file, "--preset", "fq-vit")
    assert "leave out --softmax" in scan_refusal(capsys, tmp_path, file, "--softmax", "log2")
    assert "cannot read" in scan_refusal(capsys, tmp_path, tmp_path / "nowhere")
    (tmp_path / "text").write_text("this is no network")
    assert "cannot read" in scan_refusal(capsys, tmp_path, tmp_path / "text")


def test_a_file_made_by_hand_is_used_and_checked(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe_open(file, framework="pt") as opened:
        scheme = opened.metadata()["scheme"]
    tensors, metadata = load_file(file), {"scheme": scheme, "exact_input": "false"}
    save_file(tensors, tmp_path / "hand", metadata)
    loaded = load_problem(quantized=str(tmp_path / "hand"), images=5, engine="reference")
    assert torch.equal(loaded.centre, load_problem(quantized=str(file), images=5, engine="reference").centre)
    tensors["blocks.5.attn.qkv.weight.scale"][3] = 0.0
    save_file(tensors, tmp_path / "broken", metadata)
    text = scan_refusal(capsys, tmp_path, tmp_path / "broken")
    assert "blocks.5.attn.qkv.weight.scale holds values that are not positive" in text
