from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import engine, float32_noise, malloc, scan_time, timm_coverage, workload
from benchmarks.eager_vit import FakeQuantizedViT
from landscape.engine import Evaluator, Reference
from tests.engine.networks import images, network, quantized


def test_the_baseline_computes_the_network_up_to_float32_rounding() -> None:
    """At 8 bits few codes lie so near a tie that float32 decides otherwise."""
    net, batch = quantized("vit", "w8a8"), images(4)
    eager = FakeQuantizedViT(network("vit")[0], net).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        found = eager(batch.normalized()).double()
    exact = Evaluator(net, batch, (), Reference).logits(net)
    assert (found - exact).abs().max() < 0.3 * exact.std()


def test_roughness_is_the_mean_squared_second_difference() -> None:
    line, square = np.arange(5.0), np.arange(5.0) ** 2
    assert float32_noise.roughness(line) == 0.0 and float32_noise.roughness(square) == 4.0


def test_a_curve_compared_with_itself_has_no_share_of_noise() -> None:
    curve = np.random.default_rng(0).standard_normal((7, 40))
    same = float32_noise.compare(curve, curve)
    assert same["share added"] == 0.0 and same["share of the difference"] == 0.0
    noise = np.random.default_rng(1).standard_normal((7, 40))
    smooth = np.zeros((7, 40))
    all_noise = float32_noise.compare(smooth, smooth + noise)
    assert all_noise["share added"] == 1.0 and all_noise["share of the difference"] == 1.0


def test_the_machine_is_described_without_its_name() -> None:
    text = json.dumps(workload.machine())
    assert platform.node() not in text and "torch" in text


@pytest.mark.skipif(len(malloc.policies()) == 1, reason="malloc of this system has no such settings")
def test_malloc_left_alone_gives_memory_back_and_can_be_told_to_keep_it() -> None:
    """Pages that are cleared anew count as faults."""
    code = """
        import resource, sys
        from benchmarks import malloc

        malloc.set_policy(sys.argv[1])
        before = 0
        for turn in range(20):
            held = [bytearray(2**20) for _ in range(64)]  # each too small for a huge page
            del held
            if turn == 9:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    faults = {}
    for policy in malloc.policies():
        command = [sys.executable, "-c", textwrap.dedent(code), policy]
        faults[policy] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults[malloc.KEPT] < 100 < 10000 < faults[malloc.LEFT_ALONE]  # 163,840 pages


def test_random_images_repeat() -> None:
    a, b = (workload.random_images(3, 3, 20, seed=1) for _ in range(2))
    assert a.digest() == b.digest() and a.pixels.shape == (3, 3, 20, 20)
    assert len(workload.repeated(a, 8)) == 8


def test_a_clock_adds_up_what_it_is_put_around() -> None:
    clock = scan_time.Clock()
    assert clock.around(lambda x: x + 1)(1) == 2 and clock.seconds > 0.0


def test_a_measured_part_of_a_grid_is_its_beginning() -> None:
    grid = scan_time.Grid(points=5)
    whole = grid.order()
    object.__setattr__(grid, "measured", 4)
    assert grid.order() == whole[:4] and len(whole) == 25


@pytest.mark.slow
def test_the_benchmark_writes_its_tables(tmp_path: Path) -> None:
    options = ["--images", "2", "--calib-images", "1", "--batches", "2", "--blocks", "11", "--rounds", "1"]
    engine.main([*options, "--engines", "reference", "--no-processes", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "engine.json").read_text())
    expected = [(way, name) for way in malloc.policies() for name in ("baseline", "reference", "reference")]
    assert [(row["freed memory"], row["engine"]) for row in found["rows"]] == expected
    assert "| reference | block 11 |" in (tmp_path / "engine.md").read_text()


def test_coverage_of_timm_tells_what_is_equal_and_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_COMPILE", "0")
    names = "test_resnet,efficientnet_cc_b0_4e,inception_v3"
    timm_coverage.main(
        [
            "--names",
            names,
            "--images",
            "2",
            "--side",
            "250",
            "--threads",
            str(torch.get_num_threads()),
            "--out",
            str(tmp_path / "table.md"),
        ]
    )
    text = (tmp_path / "table.md").read_text()
    resnet, conditional, large = text.splitlines()[-3:]
    assert re.fullmatch(r"\| resnet \| test_resnet \| 160 \| \de-1\d \| native equal, portable equal \|", resnet)
    assert "conv2d whose weight depends on the images" in conditional and "images of 299 pixels" in large
    assert "of 3 modules 1 are taken apart" in text and "In 1 of these every engine" in text
    assert "test_resnet" in capsys.readouterr().out
