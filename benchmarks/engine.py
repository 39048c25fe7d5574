"""Engines against plain eager fake quantization: speed, memory, time to compile.

Baseline and engines take turns within one process, round after round, so that they meet the same load; ratios are taken
within a round, and their median and range are reported, for malloc left alone and for malloc that keeps freed memory
(see `benchmarks.malloc`), with which the baseline is at its fastest. The baseline evaluates a whole candidate whichever
block moves, as released code does, so the ratio for block N compares a whole baseline pass with an engine that starts
there.

    python -m benchmarks.engine                                   # random weights and images
    python -m benchmarks.engine --weights W --data FOLDER         # real ones
    python -m benchmarks.engine --device cuda --batches 8,64,256  # baseline and engines on a GPU

An engine that evaluates several candidates at once is given as many; its time is divided by their number.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from benchmarks import malloc, workload
from benchmarks.eager_vit import FakeQuantizedViT
from benchmarks.workload import Workload
from landscape.engine import DEVICES, ENGINES, INEXACT, Evaluator, choose_engine
from landscape.errors import UserError
from landscape.quant.network import QuantizedNetwork
from landscape.quant.parameters import load_quantized, save_quantized

CACHED_IMAGES = 1000
"""Images whose prefix is held when memory is measured."""

CANDIDATES = 16
"""How many are drawn; each is quantized anew whenever its turn comes."""

Row = dict[str, Any]

Run = Callable[[], int]
"""Evaluates all images, and returns on how many candidates it did so."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; write ``engine.json`` and ``engine.md``, or ``engine-PRESET-DEVICE`` where not the default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload.add_options(parser, images=32)
    parser.add_argument("--engines", help="with commas; all that are to be had without it")
    parser.add_argument("--device", default="cpu", choices=DEVICES, help="of baseline and engines")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--blocks", default="0,5,11")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="a sentence for the report, such as what else the machine did")
    parser.add_argument("--no-processes", action="store_true", help="leave out memory and time to compile")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.probe:
        probe(options)
        return
    load = workload.load(options)
    engines = _engines(options.engines, options.device)
    rows = []
    for policy in malloc.policies() if options.device == "cpu" else (malloc.LEFT_ALONE,):
        malloc.set_policy(policy)
        for batch in _numbers(options.batches):
            found = measure(load, engines, batch, options, f"memory {policy}, batch {batch}")
            rows += [{"freed memory": policy, **row} for row in found]
    processes = {} if options.no_processes else {name: measure_process(load, name, options) for name in engines}
    report = {"workload": load.words, "rounds": options.rounds, "machine": workload.machine(), "engines": engines}
    report["note"] = options.note
    text = to_markdown(report, rows, processes)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "-".join(["engine", *(part for part in (options.preset, options.device) if part not in ("default", "cpu"))])
    (options.out / f"{name}.json").write_text(json.dumps({**report, "rows": rows, "processes": processes}, indent=1))
    (options.out / f"{name}.md").write_text(text)
    print(text)


def _engines(names: str | None, device: str) -> dict[str, str]:
    """Engines by name with the words about them; without names all that are to be had."""
    wanted = names.split(",") if names else [*ENGINES, *INEXACT]
    found = {}
    for name in wanted:
        try:
            found[name] = choose_engine(name, device)[1]
        except UserError:
            if names:
                raise
    return found


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def measure(load: Workload, engines: dict[str, str], batch: int, options: argparse.Namespace, words: str) -> list[Row]:
    """One row per engine and task at a batch size, with the baseline's own row first."""
    blocks, device = _numbers(options.blocks), options.device
    tasks: dict[Any, Run] = {"baseline": baseline_run(load, batch, device)}
    for name in engines:
        tasks |= {(name, block): engine_run(load, name, block, batch, device) for block in [None, *blocks]}
    for run in tasks.values():
        run()  # first calls compile, pack weights and fill the cache
    seconds: dict[Any, list[float]] = {key: [] for key in tasks}
    for number in range(options.rounds):
        for key, run in tasks.items():
            start = time.perf_counter()
            candidates = run()
            seconds[key].append((time.perf_counter() - start) / candidates)
        print(f"{words}: round {number + 1} of {options.rounds}", file=sys.stderr)
    return [_row(key, batch, seconds[key], seconds["baseline"], len(load.images)) for key in seconds]


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _row(key: Any, batch: int, seconds: list[float], baseline: list[float], images: int) -> Row:
    name, block = ("baseline", None) if key == "baseline" else key
    ratios = [base / own for base, own in zip(baseline, seconds, strict=True)]
    middle = median(seconds)
    return {
        "engine": name,
        "block": block,
        "batch": batch,
        "images per second": images / middle,
        "ratio": median(ratios),
        "ratio range": [min(ratios), max(ratios)],
        "ms per candidate": 1e3 * middle,
    }


def baseline_run(load: Workload, batch: int, device: str = "cpu") -> Run:
    """A whole pass of eager fake quantization, from pixels."""
    if not isinstance(load.module, VisionTransformer):
        raise UserError("the eager baseline knows timm's vision transformers only; give another --model")
    eager = FakeQuantizedViT(copy.deepcopy(load.module), load.network).eval().to(device)

    def run() -> int:
        with torch.inference_mode():
            starts = range(0, len(load.images), batch)
            torch.cat([eager(load.images.normalized(slice(i, i + batch)).to(device)) for i in starts]).cpu()
        return 1

    return run


def engine_run(load: Workload, name: str, block: int | None, batch: int, device: str = "cpu") -> Run:
    """A whole pass from pixels (block None), or new candidates that differ from `block` on, from the cache."""
    arithmetic, network = choose_engine(name, device)[0], load.network
    if block is None:
        centre = arithmetic(network, None)

        def from_pixels() -> int:
            Evaluator(network, load.images, (), lambda *_: centre, batch).logits(network)
            return 1

        return from_pixels
    names = moved_names(network, block)
    evaluator = Evaluator(network, load.images, names, arithmetic, batch)
    drawn = itertools.cycle([candidate(network, names, seed) for seed in range(CANDIDATES)])  # not part of the time

    def from_cache() -> int:
        return len(evaluator.logits_of(list(itertools.islice(drawn, evaluator.candidates_at_once))))

    return from_cache


def moved_names(network: QuantizedNetwork, block: int) -> list[str]:
    """Weight scales of a block's qkv and proj."""
    return [f"blocks.{block}.attn.{layer}.weight" for layer in ("qkv", "proj")]


def candidate(network: QuantizedNetwork, names: Sequence[str], seed: int) -> QuantizedNetwork:
    """The network with the named scales moved by about 2 %."""
    generator = torch.Generator().manual_seed(seed)
    scales = {name: network.scale(name) for name in names}
    return network.with_scales(
        {k: s * torch.exp(0.02 * torch.randn(s.shape, generator=generator)) for k, s in scales.items()}
    )


def measure_process(load: Workload, name: str, options: argparse.Namespace) -> Row:
    """In processes of their own: the first evaluation with and without the caches of compilers, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        save_quantized(Path(folder) / "network.safetensors", load.network, {})
        caches = {"XDG_CACHE_HOME": f"{folder}/cache", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        command = [sys.executable, "-m", "benchmarks.engine", "--probe", f"{name},{folder}/network.safetensors"]
        passed = ("model", "weights", "crop", "threads", "device")
        command += [f"--{key}={value}" for key in passed if (value := getattr(options, key))]
        found = []
        for _ in range(2):
            done = subprocess.run(command, env={**os.environ, **caches}, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    cold, warm = found
    return {
        "first evaluation, nothing compiled (s)": cold["first"],
        "first evaluation, compiled before (s)": warm["first"],
        "later evaluations of the same image (s)": warm["later"],
        "peak memory before (MB)": warm["before"],
        f"peak memory with {CACHED_IMAGES} images cached at block 5 (MB)": warm["peak"],
        **({"of these on the GPU, besides (MB)": warm["gpu"]} if options.device != "cpu" else {}),
    }


def probe(options: argparse.Namespace) -> None:
    """What `measure_process` starts: prints one line of JSON."""
    from landscape.graph import capture
    from landscape.models import load_model

    name, file = options.probe.split(",", 1)
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, options.weights, crop=options.crop)
    size, channels = model.preprocessing.size, model.preprocessing.channels
    network = load_quantized(Path(file), capture(model.module, (channels, size, size)))
    few = workload.random_images(8, channels, size, 3)
    before = peak_memory()
    # Choosing is part of it: native compiles its kernels then.
    first = _timed(lambda: Evaluator(network, few, (), choose_engine(name, options.device)[0]).logits(network))
    arithmetic = choose_engine(name, options.device)[0]
    centre = arithmetic(network, None)
    later = min(_timed(lambda: Evaluator(network, few, (), lambda *_: centre).logits(network)) for _ in range(3))
    many = workload.repeated(few, CACHED_IMAGES)
    names = moved_names(network, 5)
    evaluator = Evaluator(network, many, names, arithmetic)
    for seed in range(2):
        evaluator.logits(candidate(network, names, seed))
    gpu = torch.cuda.max_memory_allocated() / 2**20 if options.device != "cpu" else 0.0
    print(json.dumps({"first": first, "later": later, "before": before, "peak": peak_memory(), "gpu": gpu}))


def peak_memory() -> float:
    """Largest resident size of this process so far, MB.

    Linux's own figure is that of the program alone; the one of ``getrusage`` starts from the parent's size.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def to_markdown(report: Row, rows: list[Row], processes: dict[str, Row]) -> str:
    """The report as tables."""
    facts = report["machine"]
    lines = [
        "# Engines against eager fake quantization",
        "",
        f"{report['workload']}; {report['rounds']} rounds, baseline and engines in turn within one process.",
        "",
        f"Machine: {facts['processor']}, threads: {facts['cores']}, {', '.join(facts['instruction sets'])}; "
        f"{'no GPU' if facts['gpu'] is None else facts['gpu']}; {facts['system']}, Python {facts['python']}, "
        f"PyTorch {facts['torch']}.",
        "",
        *([report["note"], ""] if report["note"] else []),
        *(f"- {words}" for words in report["engines"].values()),
        "",
        "The baseline evaluates a whole candidate whichever block moves. The batch is the baseline's, and the least",
        "that `native` takes at a time; `portable` takes 16 images, on a GPU at least 64 of each of 8 candidates.",
        "Its LayerNorm and softmax are float ones, whatever the scheme says.",
        "Ratios: median over the rounds (smallest to largest).",
        "Freed memory: left to malloc, as whoever runs a program has it (glibc gives much of it back to the system,",
        "which clears it anew), or all kept. The baseline's operations all take new memory: its speed depends on that.",
        "",
        "| freed memory | batch | engine | starts at | images/s | ratio to baseline | ms per candidate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = "pixels" if row["block"] is None else f"block {row['block']}"
        low, high = row["ratio range"]
        lines.append(
            f"| {row['freed memory']} | {row['batch']} | {row['engine']} | {start} "
            f"| {row['images per second']:.1f} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['ms per candidate']:.0f} |"
        )
    if processes:
        columns = list(next(iter(processes.values())))
        lines += [
            "",
            "In a process of its own:",
            "",
            f"| engine | {' | '.join(columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for name, found in processes.items():
            lines.append(f"| {name} | {' | '.join(f'{found[column]:.4g}' for column in columns)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
