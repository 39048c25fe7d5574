"""Which of timm's networks can be taken apart, and whether all engines give their codes: the smallest of each module.

    LANDSCAPE_COMPILE=0 python -m benchmarks.timm_coverage --threads 2 --out benchmarks/results/timm_coverage.md
    python -m benchmarks.timm_coverage --names eva02_tiny_patch14_224,swinv2_tiny_window8_256

Weights are random (with BatchNorms that have statistics), pixels too. For each network the logits of its graph in
float64 are compared with the module's own, and every code of the quantized network, and its logits, with those of the
reference. Compiling `portable` takes a minute or more for each network, hence LANDSCAPE_COMPILE=0.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._registry import _model_to_module
from torch import Tensor, nn

from benchmarks import workload
from landscape.engine import Evaluator, choose_engine
from landscape.engine.reference import FloatPass
from landscape.errors import UserError
from landscape.graph import Graph, capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.scheme import preset


@dataclass(frozen=True)
class Row:
    """What came out for a network."""

    module: str
    name: str
    side: int = 0
    error: float = 0.0
    engines: str = ""
    refused: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Try and print a table; write it where ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", help="networks, with commas; the smallest of every module of timm without it")
    parser.add_argument("--engines", default="native,portable", help="names with commas")
    parser.add_argument("--bits", default="w4a8")
    parser.add_argument("--images", type=int, default=3, help="to compare on, and to calibrate with")
    parser.add_argument("--parameters", type=float, default=60.0, help="millions; larger networks are not tried")
    parser.add_argument("--side", type=int, default=400, help="of images; networks for larger ones are not tried")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file of the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    names = options.names.split(",") if options.names else smallest()
    found = []
    for name in names:
        start = time.perf_counter()
        found.append(tried(name, options))
        print(f"{line(found[-1])} {time.perf_counter() - start:.0f} s", flush=True)
        gc.collect()
        if options.out is not None:  # as far as it is known: a large network may take more memory than there is
            options.out.write_text("\n".join(report(found, options)) + "\n")


def smallest() -> list[str]:
    """The network with fewest parameters of every module of timm."""
    counts: dict[str, tuple[int, str]] = {}
    for name in timm.list_models():
        try:
            with torch.device("meta"):
                network = timm.create_model(name)
        except Exception:  # made of tensors that have to be there
            continue
        module, count = _model_to_module[name], sum(p.numel() for p in network.parameters())
        counts[module] = min(counts.get(module, (count, name)), (count, name))
    return [name for _, (_, name) in sorted(counts.items())]


def tried(name: str, options: argparse.Namespace) -> Row:
    """Take a network apart, and compare."""
    torch.manual_seed(0)
    network: Any = timm.create_model(name, num_classes=10).eval()
    module, (channels, side, _) = _model_to_module[name], network.pretrained_cfg["input_size"]
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    if millions > options.parameters or side > options.side:
        return Row(module, name, refused=f"not tried: {millions:.0f} million parameters, images of {side} pixels")
    images, calibration = (workload.random_images(options.images, channels, side, seed) for seed in (1, 2))
    workload.settle_batch_norms(network, calibration)
    _stir(network)
    try:
        graph = capture(network.requires_grad_(False), (channels, side, side))
    except UserError as reason:
        return Row(module, name, refused=str(reason))
    error = _float_error(network, graph, images)
    return Row(module, name, side, error, ", ".join(_engines(graph, images, calibration, options)))


def _stir(network: nn.Module) -> None:
    """Vectors (scales of layers, biases, norms) that start at zero or one get numbers of their own."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))


def _float_error(network: nn.Module, graph: Graph, images: ImageSet) -> float:
    """Largest difference of the graph's logits to the module's, in float64, over the largest logit."""
    x, values, run = images.normalized(dtype=torch.float64), dict[str, Tensor](), FloatPass(graph)
    for node in graph:
        inputs = [values[i] for i in node.inputs]
        values[node.name] = x if node.op == "input" else run.apply(node, inputs, len(images))
    expected = network.double()(x)
    return float((values[graph.output] - expected).abs().max() / expected.abs().max())


def _engines(graph: Graph, images: ImageSet, calibration: ImageSet, options: argparse.Namespace) -> list[str]:
    quantized = quantize_network(graph, preset("default").with_bits(options.bits), calibration, exact_input=False)
    names, codes = list(quantized.placements), {}
    for engine in ("reference", *options.engines.split(",")):
        evaluator = Evaluator(quantized, images, (), choose_engine(engine)[0])
        codes[engine] = {**evaluator.codes(quantized, names, len(images)), "logits": evaluator.logits(quantized)}
    expected = codes.pop("reference")
    words = []
    for engine, found in codes.items():
        differ = [name for name, value in expected.items() if not torch.equal(found[name], value)]
        words.append(f"{engine} equal" if not differ else f"{engine} DIFFERS in {len(differ)} of {len(expected)}")
    return words


def line(row: Row) -> str:
    """A row of the table."""
    if row.refused:
        return f"| {row.module} | {row.name} | | | {row.refused} |"
    return f"| {row.module} | {row.name} | {row.side} | {row.error:.0e} | {row.engines} |"


def report(found: Sequence[Row], options: argparse.Namespace) -> list[str]:
    """The whole table with what it is about."""
    done = [row for row in found if not row.refused]
    equal = [row for row in done if "DIFFERS" not in row.engines]
    untried, facts = [row for row in found if row.refused.startswith("not tried")], workload.machine()
    compiled = "uncompiled" if os.environ.get("LANDSCAPE_COMPILE") == "0" else "compiled"
    where = (
        f"portable {compiled}; {facts['processor']}, {', '.join(facts['instruction sets'])}; PyTorch {facts['torch']}"
    )
    return [
        "# Networks of timm that can be taken apart",
        "",
        f"timm {timm.__version__}: of {len(found)} modules {len(done)} are taken apart, by their smallest network. In "
        f"{len(equal)} of these every engine gives every code of the reference. {len(untried)} were not tried.",
        "",
        f"{options.bits}, preset default, {options.images} images of random pixels, random weights. Machine: {where}. "
        "Error: largest difference of the graph's logits to the module's, both in float64, over the largest logit.",
        "",
        "| module | network | side | error | codes, or why not |",
        "|---|---|---|---|---|",
        *(line(row) for row in found),
    ]


if __name__ == "__main__":
    main()
