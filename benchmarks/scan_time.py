"""Wall time of a scan, where it goes, and what eager fake quantization would need.

Everything outside the engine is overhead: losses, flip rate, bookkeeping, the store. The share is that of the scan's
wall time. With ``--measure`` only so many points are evaluated and the time of the whole grid is extrapolated.

    python -m benchmarks.scan_time --weights W --data FOLDER --images 1000 --measure 25
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from timm.models.vision_transformer import VisionTransformer

from benchmarks import workload
from benchmarks.eager_vit import FakeQuantizedViT
from benchmarks.engine import moved_names
from benchmarks.workload import Workload
from landscape.engine import choose_engine
from landscape.problem import Problem, teacher_logits
from landscape.scan import ScanOptions, continue_scan, open_run, run_settings, scan_directions
from landscape.space import scale_space
from landscape.store import RunStore

Result = TypeVar("Result")

BASELINE_IMAGES = 64
"""On which the eager baseline is timed."""


class Clock:
    """Adds up the time spent in wrapped functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Result:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


class Grid(ScanOptions):
    """A grid of which only the first points, in the order of evaluation, are evaluated."""

    measured: int | None = None

    def order(self) -> list[int]:
        """Indices in order of evaluation."""
        return super().order()[: self.measured]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write ``scan_time.json`` and ``scan_time.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_options(parser, images=1000)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--measure", type=int, help="how many points are evaluated; the whole grid without it")
    options = parser.parse_args(arguments)
    load = workload.load(options)
    arithmetic, words = choose_engine(options.engine)
    teacher = teacher_logits(load.module, load.images)
    space = scale_space(load.network, moved_names(load.network, options.block))
    problem = Problem(load.network, space, load.images, teacher, arithmetic)
    found = {"workload": load.words, "engine": words, "machine": workload.machine(), "block": options.block}
    found.update(measure(problem, load, options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scan_time.json").write_text(json.dumps(found, indent=1))
    (options.out / "scan_time.md").write_text(to_markdown(found))
    print(to_markdown(found))


def measure(problem: Problem, load: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Time a scan into a temporary folder."""
    grid = Grid(points=options.points)
    object.__setattr__(grid, "measured", options.measure)
    engine, losses, store_clock = Clock(), Clock(), Clock()
    problem.evaluator.logits = engine.around(problem.evaluator.logits)  # type: ignore[method-assign]
    problem._losses = losses.around(problem._losses)  # type: ignore[method-assign]
    start = time.perf_counter()
    problem.evaluate([problem.centre])
    first = time.perf_counter() - start
    for clock in (engine, losses):
        clock.seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        directions = scan_directions(problem, grid)
        store = open_run(Path(folder) / "run", run_settings({"scales": []}, grid), False, problem, directions)
        with store:
            wall = _timed_scan(problem, grid, directions, store, store_clock)
    points = len(grid.order())
    per_point = wall / points
    baseline = _baseline_rate(load)
    total = options.points**2
    return {
        "points measured": points,
        "points of the grid": total,
        "images": len(load.images),
        "first point, with the prefix (s)": first,
        "seconds per point": per_point,
        "whole grid (minutes)": (first + per_point * (total - 1)) / 60,
        "eager fake quantization, images per second": baseline,
        "eager fake quantization, whole grid, extrapolated (minutes)": total * len(load.images) / baseline / 60,
        "overhead outside the engine (share)": 1.0 - engine.seconds / wall,
        "losses (share)": losses.seconds / wall,
        "store (share)": store_clock.seconds / wall,
    }


def _timed_scan(problem: Problem, grid: Grid, directions: torch.Tensor, store: RunStore, clock: Clock) -> float:
    store.save_point = clock.around(store.save_point)  # type: ignore[method-assign]
    store.finish = _nothing  # type: ignore[method-assign]  # a part is not a run
    start = time.perf_counter()
    continue_scan(problem, grid, directions, store)
    return time.perf_counter() - start


def _nothing(totals: object = None) -> None:
    """In place of `RunStore.finish`."""


def _baseline_rate(load: Workload) -> float:
    """Images per second of eager fake quantization, batch 8."""
    assert isinstance(load.module, VisionTransformer)
    eager, count = FakeQuantizedViT(load.module, load.network).eval(), min(BASELINE_IMAGES, len(load.images))
    best = float("inf")
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            for index in range(0, count, 8):
                eager(load.images.normalized(slice(index, min(index + 8, count))))
            best = min(best, time.perf_counter() - start)
    return count / best


def to_markdown(found: dict[str, Any]) -> str:
    """The report as a table."""
    facts = found["machine"]
    lines = [
        "# Wall time of a scan",
        "",
        f"{found['workload']}; block {found['block']}; {found['engine']}.",
        "",
        f"Machine: {facts['processor']}, {facts['cores']} cores, {', '.join(facts['instruction sets'])}.",
        "",
        "| what | value |",
        "|---|---|",
    ]
    skipped = ("machine", "workload", "engine", "block")
    for name, value in found.items():
        if name not in skipped:
            lines.append(f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
