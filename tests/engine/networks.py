"""Small networks with random weights, and what all engine tests compare."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from landscape.engine import Evaluator, Reference
from landscape.engine.native import Native
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


class SmallMobileNet(nn.Module):
    """A stem padded on two sides, separable convolutions with strides, an inverted residual block, odd widths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2)
        self.depthwise1 = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.pointwise1 = nn.Conv2d(12, 21, 1)
        self.depthwise2 = nn.Conv2d(21, 21, 3, stride=2, groups=21)
        self.pointwise2 = nn.Conv2d(21, 33, 1)
        self.expand = nn.Conv2d(33, 70, 1)
        self.depthwise3 = nn.Conv2d(70, 70, 5, padding=2, groups=70)
        self.project = nn.Conv2d(70, 33, 1)
        self.head = nn.Linear(33, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7)."""
        pad, relu6 = nn.functional.pad, nn.functional.relu6
        x = relu6(self.stem(pad(x, (0, 1, 0, 1))))
        x = relu6(self.pointwise1(relu6(self.depthwise1(x))))
        x = relu6(self.pointwise2(relu6(self.depthwise2(pad(x, (0, 1, 0, 1))))))
        y = nn.functional.hardswish(self.depthwise3(nn.functional.hardswish(self.expand(x))))
        x = x + self.project(y)
        return torch.as_tensor(self.head(x.mean((2, 3))))


class SmallResNet(nn.Module):
    """Pooled stem, a plain block, a shortcut padded with zero channels, a grouped block with a projected shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 5, padding=2)
        self.conv1, self.conv2 = nn.Conv2d(10, 10, 3, padding=1), nn.Conv2d(10, 10, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(10, 18, 3, stride=2, padding=1), nn.Conv2d(18, 18, 3, padding=1)
        self.conv5 = nn.Conv2d(18, 24, 3, stride=2, padding=1, groups=6)
        self.conv6, self.shortcut = nn.Conv2d(24, 24, 3, padding=1, groups=2), nn.Conv2d(18, 24, 1, stride=2)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7)."""
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, 1)
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)
        y = self.conv4(torch.relu(self.conv3(x)))
        x = torch.relu(y + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        x = torch.relu(self.conv6(torch.relu(self.conv5(x))) + self.shortcut(x))
        return torch.as_tensor(self.head(x.mean((2, 3))))


class SmallGroups(nn.Module):
    """Convolutions by groups with activation functions and without, of odd widths and such that tiles fill."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, stride=2, padding=1)
        self.odd = nn.Conv2d(10, 22, 3, padding=1, groups=2)
        self.even = nn.Conv2d(22, 32, (3, 1), padding=(1, 0), groups=2, stride=2)
        self.several = nn.Conv2d(32, 64, 3, padding=2, dilation=2, groups=32)
        self.plain = nn.Conv2d(64, 64, 1, groups=4)
        self.head = nn.Linear(64, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7)."""
        x = nn.functional.silu(self.odd(torch.relu(self.stem(x))))
        x = nn.functional.hardswish(self.several(nn.functional.gelu(self.even(x))))
        return torch.as_tensor(self.head((self.plain(x) + x).mean((2, 3))))


class SmallProducts(nn.Module):
    """Products of activations with activation functions right behind them, one of which clamps; 21 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 21, 8, stride=8)
        self.q, self.k, self.v, self.head = (nn.Linear(25, n) for n in (18, 18, 70, 7))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7)."""
        x = self.stem(x).flatten(2)
        logits = torch.relu(self.q(x) @ self.k(x).transpose(1, 2))
        x = nn.functional.silu(logits.softmax(-1) @ self.v(x))
        return torch.as_tensor(self.head(x[..., :25].mean(1)))


def _vit(**options: Any) -> nn.Module:
    sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 60, "num_heads": 3, "depth": 2, "num_classes": 7}
    return timm.create_model("deit_tiny_patch16_224", **{**sizes, **options})


def _fine_vit() -> nn.Module:
    """More than 64 tokens, 70 classes."""
    return _vit(patch_size=4, num_classes=70)


def _normed_vit() -> nn.Module:
    """Normed queries and keys, layer scale."""
    return _vit(qk_norm=True, init_values=0.1)


def _swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=SIDE, patch_size=4, window_size=5, embed_dim=24, depths=(2, 2),
        num_heads=(2, 4), num_classes=7,
    )  # fmt: skip


def _levit() -> nn.Module:
    return timm.create_model(
        "levit_128s", img_size=64, embed_dim=(32, 48), key_dim=8, num_heads=(2, 3), depth=(1, 1), num_classes=7
    )


def _convnext() -> nn.Module:
    """LayerNorms behind convolutions, with power-of-two factors along the channels of images."""
    return timm.create_model("convnext_femto", depths=(2, 1, 1, 1), dims=(10, 12, 20, 24), num_classes=7)


def _mobilenetv3() -> nn.Module:
    """Squeeze-and-excite, hardswish and hard sigmoids."""
    return timm.create_model("mobilenetv3_small_050", num_classes=7)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": _vit,
    "cnn": SmallCnn,
    "mobilenet": SmallMobileNet,
    "resnet": SmallResNet,
    "swin": _swin,
    "levit": _levit,
    "convnext": _convnext,
}
_MORE: dict[str, Callable[[], nn.Module]] = {
    "fine_vit": _fine_vit,
    "normed_vit": _normed_vit,
    "mobilenetv3": _mobilenetv3,
    "products": SmallProducts,
    "groups": SmallGroups,
}


@functools.cache
def network(name: str) -> tuple[nn.Module, int]:
    """A network with random weights, and the side of its images; sizes are no multiples of any kernel's blocks."""
    torch.manual_seed(0)
    module = {**NETWORKS, **_MORE}[name]()
    for parameter in module.parameters():
        if parameter.ndim > 1 or (name.endswith("vit") and name != "levit"):
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


def assert_same_codes_together(net: QuantizedNetwork, engine: Native, count: int = 3) -> None:
    """The same of lists of nodes that are run at once: with everything kept, and with as much fused as may be."""
    side = net.graph.input_shape[-1]
    chosen = images(count, seed=3, side=side)
    batch = chosen.normalized(dtype=torch.float64)
    expected = {node.name: value for node, value in values(Reference(net), batch)}
    nodes, output = list(net.graph), net.graph.output
    fused = [name for name in net.activations if name.endswith((".residual", ".softmax", ".act", "norm1", "cat"))]
    for keep in [set(net.activations), {output}, *({name, output} for name in fused[:: max(1, len(fused) // 3)])]:
        found = engine.run_nodes(nodes, {"input": engine.pixels(chosen, slice(0, count))}, keep, count)
        for name in keep:
            assert torch.equal(as_float(expected[name]), as_float(found[name])), f"{name}, {len(keep)} kept"


def with_powers_of_two(net: QuantizedNetwork) -> QuantizedNetwork:
    """All scales rounded to powers of two: values then lie exactly between two codes again and again."""
    return net.with_scales({name: 2.0 ** net.scale(name).log2().round() for name in net.scale_names()})


def perturbed(net: QuantizedNetwork, names: list[str], seed: int, size: float = 0.05) -> QuantizedNetwork:
    """The named scales multiplied by exp(size * normal noise)."""
    generator = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(net.scale(name).shape, generator=generator, dtype=torch.float64) for name in names}
    return net.with_scales({name: net.scale(name) * torch.exp(size * noise[name]) for name in names})


def left_to_reference(
    net: QuantizedNetwork, engine: Reference, monkeypatch: pytest.MonkeyPatch, chosen: ImageSet | None = None
) -> set[str]:
    """Operations that an engine leaves to the reference, but for constants and what only renames numbers."""
    left, evaluate = set[str](), Reference.evaluate

    def recorded(self: Reference, node: Node, values: Sequence[Value], count: int) -> Value:
        left.add(node.op)
        return evaluate(self, node, values, count)

    chosen = images(2, side=net.graph.input_shape[-1]) if chosen is None else chosen
    Evaluator(net, chosen, (), lambda *_: engine).logits(net)  # tables are made by the reference, once
    monkeypatch.setattr(Reference, "evaluate", recorded)
    Evaluator(net, chosen, (), lambda *_: engine).logits(net)
    return left - {"constant", "view", "scale"}
