"""Engines against plain eager fake quantization on networks other than DeiT, from pixels to logits.

Baseline and engine take turns within one process, round after round, so that they meet the same load; ratios are taken
within a round, and their median and range are printed. Nothing is cached between passes.

    python -m benchmarks.other_networks --shared ../shared/data --threads 1
    python -m benchmarks.other_networks --nets swin_tiny_patch4_window7_224,levit_128s   # of timm, random weights
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import workload
from benchmarks.eager_graph import FakeQuantizedGraph
from benchmarks.presets import NETS
from landscape.engine import Evaluator, choose_engine
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork
from landscape.setup import load_problem

CNNS = tuple(name for name in NETS if name != "deit_tiny")
_CIFAR: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table; write it where ``--out`` is given, as far as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="folder of networks and images")
    parser.add_argument("--nets", default=",".join(CNNS), help="names with commas, of the shared data or timm's")
    parser.add_argument("--engines", default="native", help="names with commas")
    parser.add_argument("--batches", default="8,50", help="images at a time, with commas")
    parser.add_argument("--bits", default="w4a8")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--calib-images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file of the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    lines = header(options)
    print("\n".join(lines))
    for name in options.nets.split(","):
        title, network, images = load(name, options)
        for batch in (int(part) for part in options.batches.split(",")):
            found = rows(title, network, images, batch, options)
            print("\n".join(found), flush=True)
            lines += found
            if options.out is not None:
                options.out.write_text("\n".join(lines) + "\n")


def load(name: str, options: argparse.Namespace) -> tuple[str, QuantizedNetwork, ImageSet]:
    """A network, calibrated, with its title and test images."""
    shared = options.shared
    if name not in NETS:
        about = {"model": name, "weights": None, "data": shared / "imagenet-mini", "crop": 224, "preset": "default"}
        made = workload.load(argparse.Namespace(**{**vars(options), **about}))
        return f"{name} (random weights)", made.network, made.images
    net = NETS[name]
    problem = load_problem(
        model=f"{shared / 'cnn_models.py'}:{net.model}", weights=str(shared / "weights" / f"{net.weights}.safetensors"),
        data=str(shared / net.data), resize="none", crop=net.crop, block=None, bits=options.bits, images=options.images,
        calib_images=options.calib_images, engine="native", **(_CIFAR if net.crop == 32 else {}),
    )  # fmt: skip
    return net.title, problem.network, problem.images


def header(options: argparse.Namespace) -> list[str]:
    """What the table is about."""
    facts = workload.machine()
    return [
        "# Other networks: engines against eager fake quantization",
        "",
        f"{options.bits}, {options.images} images, {options.rounds} rounds, in turn within one process.",
        f"Machine: {facts['processor']}, threads: {options.threads}, {', '.join(facts['instruction sets'])}; "
        f"{facts['system']}, PyTorch {facts['torch']}.",
        "Ratios: median over the rounds (smallest to largest). Agreement: share of images with the same top-1.",
        "",
        "| network | batch | baseline images/s | engine | images/s | ratio | agreement |",
        "|---|---|---|---|---|---|---|",
    ]


def rows(title: str, network: QuantizedNetwork, images: ImageSet, batch: int, options: argparse.Namespace) -> list[str]:
    """One row an engine."""
    eager = FakeQuantizedGraph(network).eval()
    found = []
    for name in options.engines.split(","):
        centre = choose_engine(name)[0](network, None)
        runs: list[Callable[[], Tensor]] = [
            lambda: eager_logits(eager, images, batch),
            lambda c=centre: Evaluator(network, images, (), lambda *_: c, batch).logits(network),  # type: ignore[misc]
        ]
        first = [run() for run in runs]
        seconds = [[_timed(run) for run in runs] for _ in range(options.rounds)]
        ratios = [base / own for base, own in seconds]
        base, own = (len(images) / median(column) for column in zip(*seconds, strict=True))
        same = float((first[0].argmax(1) == first[1].argmax(1)).double().mean())
        found.append(
            f"| {title} | {batch} | {base:.1f} | {name} | {own:.0f} | {median(ratios):.1f} ({min(ratios):.1f} to "
            f"{max(ratios):.1f}) | {same:.2f} |"
        )
    return found


def eager_logits(eager: FakeQuantizedGraph, images: ImageSet, batch: int) -> Tensor:
    """Logits of the baseline, from pixels."""
    with torch.inference_mode():
        starts = range(0, len(images), batch)
        return torch.cat([eager(images.normalized(slice(i, i + batch))) for i in starts])


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
