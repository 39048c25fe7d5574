"""Small networks with random weights, and what all engine tests compare."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import timm
import torch
from torch import Tensor, nn

from landscape.engine import Reference
from landscape.engine.values import Codes, Value, as_float
from landscape.graph import Node, capture
from landscape.images import ImageSet
from landscape.quant.calibrate import quantize_network
from landscape.quant.network import QuantizedNetwork
from landscape.quant.scheme import Scheme

SIDE = 40


class SmallCnn(nn.Module):
    """Padded, strided, dilated and depthwise convolutions, a shortcut, pools, and four activation functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(10, 10, 3, padding=2, dilation=2)
        self.depthwise = nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.pointwise = nn.Conv2d(10, 24, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.average = nn.AvgPool2d(2)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7)."""
        x = torch.relu(self.stem(x))
        x = torch.nn.functional.relu6(self.middle(x) + x)
        x = self.pool(nn.functional.silu(self.depthwise(x)))
        x = self.average(nn.functional.hardswish(self.pointwise(x)))
        return torch.as_tensor(self.head(x.mean((2, 3))))


def _vit() -> nn.Module:
    return timm.create_model(
        "deit_tiny_patch16_224", img_size=SIDE, patch_size=8, embed_dim=60, num_heads=3, depth=2, num_classes=7
    )


def _swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=SIDE, patch_size=4, window_size=5, embed_dim=24, depths=(2, 2),
        num_heads=(2, 4), num_classes=7,
    )  # fmt: skip


def _levit() -> nn.Module:
    return timm.create_model(
        "levit_128s", img_size=64, embed_dim=(32, 48), key_dim=8, num_heads=(2, 3), depth=(1, 1), num_classes=7
    )


NETWORKS = {"vit": _vit, "cnn": SmallCnn, "swin": _swin, "levit": _levit}


@functools.cache
def network(name: str) -> tuple[nn.Module, int]:
    """A network with random weights, and the side of its images; sizes are no multiples of any kernel's blocks."""
    torch.manual_seed(0)
    module = NETWORKS[name]()
    for parameter in module.parameters():
        if parameter.ndim > 1 or name == "vit":
            nn.init.normal_(parameter, std=0.2)
    return module.eval(), 64 if name == "levit" else SIDE


def images(count: int, seed: int = 1, side: int = SIDE) -> ImageSet:
    """Random pixels."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    labels, names = torch.zeros(count, dtype=torch.int64), tuple(str(i) for i in range(count))
    return ImageSet(pixels, labels, names, (0.48,) * 3, (0.23,) * 3, "random", "val", seed)


@functools.cache
def quantized(name: str, bits: str = "w4a8", exact_input: bool = False, **options: str) -> QuantizedNetwork:
    """A network calibrated on random images; calling it again gives the same object."""
    module, side = network(name)
    scheme = Scheme(**options).with_bits(bits)  # type: ignore[arg-type]
    graph = capture(module, (3, side, side))
    return quantize_network(graph, scheme, images(4, seed=2, side=side), exact_input)


def values(arithmetic: Reference, batch: Tensor) -> Iterator[tuple[Node, Value]]:
    """All values of a batch of normalised images, in order."""
    found = {"input": arithmetic.input(batch)}
    yield arithmetic.graph["input"], found["input"]
    for node in arithmetic.graph:
        if node.op != "input":
            found[node.name] = arithmetic.evaluate(node, [found[name] for name in node.inputs], batch.shape[0])
            yield node, found[node.name]


def assert_same_codes(net: QuantizedNetwork, engine: Reference, count: int = 3) -> None:
    """Every value of the engine equals the reference's, and where the network has a quantizer, so do the integers."""
    side = net.graph.input_shape[-1]
    batch = images(count, seed=3, side=side).normalized(dtype=torch.float64)
    for (node, expected), (_, actual) in zip(values(Reference(net), batch), values(engine, batch), strict=True):
        if node.name in net.activations:
            assert isinstance(expected, Codes) and isinstance(actual, Codes), node.name
            assert torch.equal(expected.integers.double(), actual.integers.double()), node.name
        assert torch.equal(as_float(expected), as_float(actual)), node.name


def with_powers_of_two(net: QuantizedNetwork) -> QuantizedNetwork:
    """All scales rounded to powers of two: values then lie exactly between two codes again and again."""
    return net.with_scales({name: 2.0 ** net.scale(name).log2().round() for name in net.scale_names()})


def perturbed(net: QuantizedNetwork, names: list[str], seed: int, size: float = 0.05) -> QuantizedNetwork:
    """The named scales multiplied by exp(size * normal noise)."""
    generator = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(net.scale(name).shape, generator=generator, dtype=torch.float64) for name in names}
    return net.with_scales({name: net.scale(name) * torch.exp(size * noise[name]) for name in names})
