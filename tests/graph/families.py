"""The families of networks as small timm models with random weights, and what tests of them share."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn

from landscape.graph import Graph, capture


@dataclass(frozen=True)
class Family:
    """One network: timm's name, what makes it small, and the side of its images."""

    name: str
    size: int
    options: dict[str, Any] = field(default_factory=dict)


_SWIN = {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 7}

FAMILIES = {
    "vit": Family("vit_tiny_patch16_224", 48, {"img_size": 48, "depth": 2}),
    "deit": Family("deit_tiny_patch16_224", 32, {"img_size": 32, "depth": 2}),
    "deit-distilled": Family("deit_tiny_distilled_patch16_224", 32, {"img_size": 32, "depth": 2}),
    "swin": Family("swin_tiny_patch4_window7_224", 56, _SWIN),
    "levit": Family("levit_128s", 224),
    "levit-conv": Family("levit_conv_128s", 224),
    "resnet18": Family("resnet18", 64),
    "resnet50": Family("resnet50", 64),
    "resnet26d": Family("resnet26d", 64),
    "regnetx": Family("regnetx_002", 64),
    "regnety": Family("regnety_002", 64),
    "mobilenetv1": Family("mobilenetv1_100", 64),
    "mobilenetv2": Family("mobilenetv2_050", 64),
    "mobilenetv3-small": Family("mobilenetv3_small_050", 64),
    "mobilenetv3-large": Family("mobilenetv3_large_075", 64),
    "efficientnet": Family("efficientnet_b0", 64),
    "efficientnet-same": Family("tf_efficientnet_b0", 64),
    "efficientnetv2": Family("tf_efficientnetv2_b0", 64),
}


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics of batch norms, and vectors that start at zero or one, as training leaves them: none is neutral."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        for name, parameter in module.named_parameters():
            positional = any(part in name for part in ("pos_embed", "token", "bias_table", "attention_biases"))
            if parameter.ndim == 1 or positional:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@functools.cache
def network(family: str) -> nn.Module:
    """A network in float32 with seeded random weights; not to be changed."""
    found = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = timm.create_model(found.name, num_classes=10, **found.options)
    return randomize(module).requires_grad_(False)


@functools.cache
def graph(family: str) -> Graph:
    """Its graph; not to be changed."""
    size = FAMILIES[family].size
    return capture(network(family), (3, size, size))


def images(size: int, count: int = 2, channels: int = 3, seed: int = 1) -> Tensor:
    """Random images, float64 (count, channels, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, dtype=torch.float64, generator=generator)


def double_logits(module: nn.Module, x: Tensor) -> Tensor:
    """Logits of the module itself, its weights taken as float64."""
    module = copy.deepcopy(module)  # LeViT keeps what it computes
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
    with torch.no_grad():
        logits: Tensor = torch.func.functional_call(module, doubled, (x,))
    return logits


def graph_logits(graph: Graph, x: Tensor) -> Tensor:
    """Logits of the graph in float64, nothing quantized."""
    from landscape.quant.calibrate import float_values

    values = {node.name: value for node, value in float_values(graph, x) if node.name == graph.output}
    return values[graph.output]


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Largest difference against the largest expected number."""
    return float((value - expected).abs().max() / expected.abs().max())
