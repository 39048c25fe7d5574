"""Top-1 of the presets on real networks, and the measurement behind the default preset.

    python -m benchmarks.presets table            # presets x bits, test images
    python -m benchmarks.presets choose           # parts of a scheme, calibration data only
    python -m benchmarks.presets report           # write the tables again from what is stored

Both measurements go on where they stopped: each finished row is stored at once in ``benchmarks/results/presets.json``,
and ``--minutes`` ends a run early. The tables are in ``benchmarks/results/presets.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.presets_report import default_of, report
from landscape.bootstrap import bootstrap_interval
from landscape.engine import Evaluator, choose_engine
from landscape.graph import capture
from landscape.image_files import Split
from landscape.images import ImageSet, load_images
from landscape.losses import LOSSES, LossOptions, Outputs
from landscape.models import load_model
from landscape.problem import teacher_logits
from landscape.quant.calibrate import calibrate_activations, corrected_biases, keeps_input, quantize_weights
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork, WeightQuantizer
from landscape.quant.placement import place_quantizers
from landscape.quant.provenance import versions
from landscape.quant.scheme import Scheme, preset

RESULTS = Path(__file__).parent / "results"
BITS = ("w8a8", "w4a8", "w3a8")
PRESETS = ("fq-vit", "fq-vit++", "evolq-script", "default")
CALIBRATION = 200
HELD_OUT = 200
CHOICE_BITS = ("w4a8", "w3a8")
CHOICE_LOSSES = ("kl", "infonce", "mse")
_CIFAR = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation that the CIFAR networks expect."""


@dataclass(frozen=True)
class Net:
    """A network of the shared data: title, factory or timm name, file of weights, folder of images, side in pixels."""

    title: str
    model: str
    weights: str
    data: str
    crop: int


NETS = {
    "deit_tiny": Net("DeiT-Tiny", "deit_tiny_patch16_224", "deit_tiny_patch16_224", "imagenet-mini", 224),
    "mobilenetv1": Net("MobileNetV1 0.75", "mobilenetv1_075", "mobilenetv1_075", "imagenet-mini", 224),
    "resnet20": Net("ResNet-20, CIFAR-10", "resnet20", "resnet20_cifar10", "cifar10-mini", 32),
    "resnet56": Net("ResNet-56, CIFAR-10", "resnet56", "resnet56_cifar10", "cifar10-mini", 32),
}


class Bench:
    """One network with its images, and everything that several schemes share: computed once.

    Args:
        name: One of `NETS`.
        shared: The folder of the shared data.
        cache: A folder that keeps the float network's logits and all parameters from run to run.
    """

    def __init__(self, name: str, shared: Path, cache: Path | None = None) -> None:
        self.name, self.net, self.shared, self.cache = name, NETS[name], shared, cache
        model = self.net.model if name == "deit_tiny" else f"{shared / 'cnn_models.py'}:{self.net.model}"
        mean, std = _CIFAR if self.net.crop == 32 else (None, None)
        weights = shared / "weights" / f"{self.net.weights}.safetensors"
        self.model = load_model(model, weights, resize="none", crop=self.net.crop, mean=mean, std=std)
        self.graph = capture(self.model.module, (3, self.net.crop, self.net.crop))
        self.arithmetic, self.engine = choose_engine()
        self._activations: dict[str, dict[str, ActivationQuantizer]] = {}
        self._weights: dict[str, dict[str, WeightQuantizer]] = {}

    def images(self, split: Split, count: int | None) -> ImageSet:
        """Drawn by seed 0; a smaller set is the beginning of a larger one."""
        folder = self.shared / self.net.data
        return load_images(folder, split, count, 0, self.model.preprocessing, self.model.num_classes)

    @cached_property
    def test(self) -> tuple[ImageSet, Tensor]:
        """All test images, and the float network's logits of them."""
        images = self.images("val", None)
        return images, self.kept("teacher-val", lambda: teacher_logits(self.model.module, images))

    @cached_property
    def held_out(self) -> tuple[ImageSet, Tensor]:
        """Training images behind the calibration images, and the float network's logits of them."""
        images = self.images("train", CALIBRATION + HELD_OUT).select(range(CALIBRATION, CALIBRATION + HELD_OUT))
        return images, self.kept("teacher-held-out", lambda: teacher_logits(self.model.module, images))

    def kept(self, part: str, make: Callable[[], Any]) -> Any:
        """Something of tensors and plain data: from the cache folder, or made and kept there."""
        file = None if self.cache is None else self.cache / f"{self.name}-{part}.pt"
        if file is not None and file.exists():
            return torch.load(file, weights_only=True)
        found = make()
        if file is not None:
            torch.save(found, file)
        return found

    def quantized(self, scheme: Scheme, calibration: int) -> QuantizedNetwork:
        """The network that `quantize_network` makes, from shared parts."""
        mean, std = self.model.preprocessing.mean, self.model.preprocessing.std
        exact = keeps_input(scheme, mean, std)
        images = self.images("train", calibration)
        placements = place_quantizers(self.graph, scheme, exact)
        all_found = self._calibrated(scheme, exact, images)
        activations = {name: all_found[name] for name, place in placements.items() if place.kind != "log2"}
        weights = self._quantized_weights(scheme)
        network = QuantizedNetwork(self.graph, scheme, exact, placements, weights, activations)
        if scheme.bias_correction == "output":
            network = replace(network, biases=corrected_biases(network, images))
        return network

    def _calibrated(self, scheme: Scheme, exact: bool, images: ImageSet) -> dict[str, ActivationQuantizer]:
        """Activations with the softmax uniform at 8 bits: whatever else the scheme has needs some of these."""
        parts = (scheme.activation_observer, scheme.activation_codes, scheme.residual)
        name = "-".join([f"a{scheme.activation_bits}", *parts, "exact" * exact, str(len(images))])
        if name not in self._activations:
            uniform = replace(scheme, softmax="uniform", softmax_bits=8, layer_norm="float")
            places = place_quantizers(self.graph, uniform, exact)

            def make() -> dict[str, dict[str, Any]]:
                return {k: vars(v) for k, v in calibrate_activations(self.graph, uniform, places, images).items()}

            self._activations[name] = {k: ActivationQuantizer(**v) for k, v in self.kept(name, make).items()}
        return self._activations[name]

    def _quantized_weights(self, scheme: Scheme) -> dict[str, WeightQuantizer]:
        name = f"w{scheme.weight_bits}-{scheme.weight_observer}-{scheme.weight_codes}-{scheme.weight_scales}"
        if name not in self._weights:

            def make() -> dict[str, dict[str, Any]]:
                return {k: vars(v) for k, v in quantize_weights(self.graph, scheme).items()}

            self._weights[name] = {k: WeightQuantizer(**v) for k, v in self.kept(name, make).items()}
        return self._weights[name]

    def logits(self, network: QuantizedNetwork, images: ImageSet) -> Tensor:
        """Of the quantized network, by the fastest engine of the machine."""
        return Evaluator(network, images, (), self.arithmetic).logits(network)


Row = dict[str, Any]


def table_rows(name: str) -> Iterator[tuple[str, Scheme, int]]:
    """What is measured on test images: label, scheme and number of calibration images."""
    for bits in BITS:
        for label in PRESETS:
            yield label, default_of(name, bits) if label == "default" else preset(label).with_bits(bits), CALIBRATION
        if name == "mobilenetv1":
            yield (
                "default, weights corrected",
                replace(preset("default").with_bits(bits), bias_correction="weight"),
                200,
            )
        if name == "deit_tiny":
            corrected = replace(preset("fq-vit++").with_bits(bits), bias_correction="weight")
            yield "fq-vit++ with bias correction", corrected, 100


def choice_rows(name: str) -> Iterator[tuple[str, Scheme, int]]:
    """What is measured on held-out calibration data: weight parts with activation observers, then the others alone."""
    for bits in CHOICE_BITS:
        base = default_of(name, bits)
        parts = itertools.product(("minmax", "omse-shared", "omse"), ("none", "weight", "output"), ("minmax", "omse"))
        for weight, correction, activation in parts:
            scheme = replace(base, weight_observer=weight, bias_correction=correction, activation_observer=activation)
            yield f"{weight} / {correction} / {activation}", scheme, CALIBRATION
        for observer in ("ema", "percentile"):
            yield f"base, {observer} activations", replace(base, activation_observer=observer), CALIBRATION
        if name == "deit_tiny":
            yield "base, integer LayerNorm", replace(base, layer_norm="integer"), CALIBRATION
            yield "base, no power-of-two factors", replace(base, residual="tensor"), CALIBRATION
            yield "base, 4-bit log2 softmax", replace(base, softmax="log2", softmax_bits=4), CALIBRATION
            yield "base, 8-bit log2 softmax", replace(base, softmax="log2", softmax_bits=8), CALIBRATION


def measure_top1(bench: Bench, scheme: Scheme, calibration: int) -> Row:
    """Top-1 on all test images, and its difference to the float network with a paired bootstrap interval."""
    images, teacher = bench.test
    start = time.perf_counter()
    outputs = Outputs(bench.logits(bench.quantized(scheme, calibration), images), images.labels, teacher, LossOptions())
    right = LOSSES["top1"](outputs).numpy()
    float_right = LOSSES["top1"](replace(outputs, logits=teacher)).numpy()
    low, high = bootstrap_interval((right - float_right)[None], 0.95, 10_000, 0)
    return {
        "images": len(images),
        "top1": 100 * float(right.mean()),
        "float_top1": 100 * float(float_right.mean()),
        "low": 100 * float(low[0]),
        "high": 100 * float(high[0]),
        "loss": float(LOSSES["loss"](outputs).mean()),
        "right": np.packbits(right.astype(bool)).tobytes().hex(),
        "seconds": round(time.perf_counter() - start, 1),
    }


def measure_distance(bench: Bench, scheme: Scheme, calibration: int) -> Row:
    """Distance from the teacher on training images that took no part in the calibration."""
    images, teacher = bench.held_out
    start = time.perf_counter()
    outputs = Outputs(bench.logits(bench.quantized(scheme, calibration), images), images.labels, teacher, LossOptions())
    values = {name: LOSSES[name](outputs).numpy() for name in CHOICE_LOSSES}
    return {
        "images": len(images),
        **{name: float(value.mean()) for name, value in values.items()},
        "per_image": {"kl": [round(float(v), 6) for v in values["kl"]]},
        "seconds": round(time.perf_counter() - start, 1),
    }


MEASUREMENTS = {"table": (table_rows, measure_top1), "choose": (choice_rows, measure_distance)}


def run(kind: str, names: list[str], shared: Path, minutes: float, cache: Path | None, only: str) -> bool:
    """Measure what is not stored yet, of rows whose key matches the pattern; returns whether all of those are."""
    end = time.monotonic() + 60 * minutes
    rows, measure = MEASUREMENTS[kind]
    for name in names:
        bench = None
        for label, scheme, calibration in rows(name):
            key = f"{kind}/{name}/{scheme.bits}/{label}"
            settings = {**asdict(scheme), "calibration": calibration}
            stored = read().get(key)
            if not fnmatchcase(key, only):
                continue
            if stored is not None and stored["settings"] == settings:
                continue
            if time.monotonic() > end:
                return False
            bench = bench or Bench(name, shared, cache)
            row = {"network": name, "label": label, "bits": scheme.bits, "settings": settings}
            row |= measure(bench, scheme, calibration) | {"engine": bench.engine, "versions": versions()}
            write({**read(), key: row})
            shown = {k: row[k] for k in ("top1", "float_top1", "kl", "infonce", "seconds") if k in row}
            print(key, json.dumps(shown), flush=True)
    return True


def read() -> dict[str, Row]:
    """All stored rows."""
    file = RESULTS / "presets.json"
    found: dict[str, Row] = json.loads(file.read_text()) if file.exists() else {}
    return found


def write(rows: dict[str, Row]) -> None:
    """Store all rows; a killed run leaves the old file or the new one, never half of it."""
    RESULTS.mkdir(exist_ok=True)
    partial = RESULTS / "presets.json.part"
    partial.write_text(json.dumps(rows, indent=1) + "\n")
    os.replace(partial, RESULTS / "presets.json")


def main() -> None:
    """Measure, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*MEASUREMENTS, "report"])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="folder of networks and images")
    parser.add_argument("--nets", default=",".join(NETS), help="names with commas")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after about this time; run again to go on")
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder for what the float network computes; none by default",
    )
    parser.add_argument("--only", default="*", help="pattern of rows, such as 'table/deit_tiny/w4a8/fq-vit++*'")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    complete = True
    if options.what != "report":
        complete = run(
            options.what, options.nets.split(","), options.shared, options.minutes, options.cache, options.only
        )
    titles = {name: net.title for name, net in NETS.items()}
    (RESULTS / "presets.md").write_text(report(read(), titles))
    print("complete" if complete else "stopped by --minutes; the same command goes on")


if __name__ == "__main__":
    main()
