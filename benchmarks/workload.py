"""What the benchmarks run on: a network, calibrated, and images; and a description of the machine."""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape.graph import capture
from landscape.images import ImageSet, load_images
from landscape.models import load_model
from landscape.quant.calibrate import keeps_input, quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import preset

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that matter for integer products."""


@dataclass(frozen=True)
class Workload:
    """A network and images.

    Attributes:
        module: The float network.
        network: The same, quantized.
        images: Test images.
        calibration: Images that it was calibrated on.
        words: What they are, for the report.
    """

    module: nn.Module
    network: QuantizedNetwork
    images: ImageSet
    calibration: ImageSet
    words: str


def add_options(parser: argparse.ArgumentParser, images: int) -> None:
    """The options that say what is run."""
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="a timm vision transformer")
    parser.add_argument("--weights", type=Path, help="file of its weights; random ones without it")
    parser.add_argument("--data", type=Path, help="folder of images in ImageNet layout; random pixels without it")
    parser.add_argument("--crop", type=int, default=224, help="side of the centre crop; images are not resized")
    parser.add_argument("--preset", default="default", help="quantization scheme")
    parser.add_argument("--bits", default="w4a8")
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--calib-images", type=int, default=16)
    parser.add_argument("--threads", type=int, help="of PyTorch and of the engines; all cores without it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")


def load(options: argparse.Namespace) -> Workload:
    """Load and calibrate; both random, from fixed seeds, where no files are given."""
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, options.weights, resize="none" if options.data else None, crop=options.crop)
    preprocessing = model.preprocessing
    if options.data is not None:
        rest = (0, preprocessing, model.num_classes)
        images = load_images(options.data, "val", options.images, *rest)
        calibration = load_images(options.data, "train", options.calib_images, *rest)
    else:
        images = random_images(options.images, preprocessing.channels, preprocessing.size, 1)
        calibration = random_images(options.calib_images, preprocessing.channels, preprocessing.size, 2)
    if options.weights is None:
        settle_batch_norms(model.module, calibration)
    scheme = preset(options.preset).with_bits(options.bits)
    graph = capture(model.module, (preprocessing.channels, preprocessing.size, preprocessing.size))
    exact = keeps_input(scheme, images.mean, images.std)
    network = quantize_network(graph, scheme, calibration, exact)
    words = (
        f"{options.model} ({'random' if options.weights is None else options.weights.name} weights), {options.bits}, "
        f"preset {options.preset}, {len(images)} {'random' if options.data is None else options.data.name} images"
    )
    return Workload(model.module, network, images, calibration, words)


def settle_batch_norms(module: nn.Module, images: ImageSet) -> None:
    """Give all BatchNorms the statistics of these images.

    Networks with random weights come with mean 0 and variance 1; through these, activations shrink from layer to layer
    to sizes that no trained network has.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    if norms:
        with torch.no_grad():
            module(images.normalized())
    for norm in norms:
        norm.eval()


def random_images(count: int, channels: int, side: int, seed: int) -> ImageSet:
    """Random pixels with some structure: blocks of 8 pixels and noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 200, (count, channels, -(-side // 8), -(-side // 8)))
    pixels = np.kron(coarse, np.ones((1, 1, 8, 8), dtype=np.int64))[..., :side, :side]
    pixels = pixels + generator.integers(0, 56, pixels.shape)
    names = tuple(f"random/{seed}/{i}" for i in range(count))
    labels = torch.from_numpy(generator.integers(0, 10, count))
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    return ImageSet(torch.from_numpy(pixels.astype(np.uint8)), labels, names, mean, std, "random", "val", seed)


def repeated(images: ImageSet, count: int) -> ImageSet:
    """The images again and again until there are `count`; for questions of memory."""
    chosen = torch.arange(count) % len(images)
    return replace(images.select(chosen), names=tuple(str(i) for i in range(count)))


def machine() -> dict[str, Any]:
    """Processor, memory and versions; nothing that names the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (pairs.get("flags") or pairs.get("Features") or "").split()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": pairs.get("model name", platform.processor() or platform.machine()),
        "instruction sets": [flag for flag in FLAGS if flag in flags],
        "cores": torch.get_num_threads(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
