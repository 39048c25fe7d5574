"""A small network with every kind of part, quantized, and images for it: what tests of the scheme share."""

from __future__ import annotations

import functools

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from landscape.graph import Graph, capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import Scheme
from tests.graph.families import randomize

SIZE = 8


@functools.cache
def module() -> nn.Module:
    """A vision transformer of two blocks for grey images of 8x8 pixels; random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(
            img_size=SIZE, patch_size=4, in_chans=1, num_classes=5, embed_dim=16, depth=2, num_heads=2
        )
    return randomize(network).requires_grad_(False)


@functools.cache
def graph() -> Graph:
    """Its graph."""
    return capture(module(), (1, SIZE, SIZE))


def drawn(count: int = 12, seed: int = 0) -> ImageSet:
    """Random images with mean and standard deviation 0.4."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    names = tuple(f"random/{seed}/{index}" for index in range(count))
    return ImageSet(pixels, torch.arange(count) % 5, names, (0.4,), (0.4,), "random", "train", seed)


def quantized(scheme: Scheme, exact_input: bool = False) -> QuantizedNetwork:
    """The network, calibrated on 12 images."""
    return quantize_network(graph(), scheme, drawn(), exact_input)


def weight_of(layer: str) -> Tensor:
    """Float weight of a layer."""
    weight = graph()[layer].weight
    assert weight is not None
    return weight
