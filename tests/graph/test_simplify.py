"""Folding: batch norms and factors go into the layers beside them, by the formula, if nothing else reads there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.graph import capture
from tests.graph.families import double_logits, graph_logits, images, randomize, relative_error

SIZE = 6


def seeded(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()
    return randomize(module).requires_grad_(False)


class Normed(nn.Module):
    """Convolution, batch norm, linear, batch norm of vectors, and one before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-3)
        self.fc, self.bn1 = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.bn2, self.head = nn.BatchNorm1d(6), nn.Linear(6, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn(self.conv(x))).mean((2, 3))
        y = torch.relu(self.bn1(self.fc(y)))
        return self.head(self.bn2(y))


def gain_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return gain, norm.bias.double() - gain * norm.running_mean.double()


def test_a_batch_norm_goes_into_the_layer_before_it_or_the_linear_layer_behind_it() -> None:
    module = Normed()
    seeded(module)
    graph = capture(module, (3, SIZE, SIZE))
    assert [node.op for node in graph if node.op not in ("input", "view", "unary", "mean")] == ["conv2d"] + 2 * [
        "linear"
    ]

    gain, shift = gain_and_shift(module.bn)
    conv = graph["conv"]
    assert conv.weight is not None and conv.bias is not None
    assert torch.allclose(conv.weight, gain[:, None, None, None] * module.conv.weight.double(), rtol=1e-14)
    assert torch.allclose(conv.bias, shift, rtol=1e-14)

    gain, shift = gain_and_shift(module.bn1)
    assert graph["fc"].bias is not None
    assert torch.allclose(graph["fc"].bias, gain * module.fc.bias.double() + shift, rtol=1e-13)

    gain, shift = gain_and_shift(module.bn2)
    head = graph["head"]
    assert head.weight is not None and head.bias is not None
    assert torch.allclose(head.weight, module.head.weight.double() * gain, rtol=1e-14)
    assert torch.allclose(head.bias, module.head.weight.double() @ shift, rtol=1e-13)
    x = images(SIZE)
    assert relative_error(graph_logits(graph, x), double_logits(module, x)) < 1e-12


def test_a_layer_that_something_else_reads_too_keeps_its_weight() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.head((self.bn(y) + y).mean((2, 3)))

    module = Shared()
    seeded(module)
    graph, x = capture(module, (3, SIZE, SIZE)), images(SIZE)
    assert graph["conv"].weight is not None and torch.equal(graph["conv"].weight, module.conv.weight.double())
    assert [node.name for node in graph if node.op == "affine"] == ["bn"]
    assert relative_error(graph_logits(graph, x), double_logits(module, x)) < 1e-12


def test_a_learned_factor_per_channel_goes_into_the_layer_before_it() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.gamma = nn.Linear(3 * SIZE * SIZE, 5), nn.Parameter(torch.linspace(0.5, 2.0, 5))

        def forward(self, x: Tensor) -> Tensor:
            return self.gamma * self.fc(x.flatten(1))

    module = Scaled()
    torch.manual_seed(0)
    module.eval().requires_grad_(False)
    graph = capture(module, (3, SIZE, SIZE))
    fc = graph["fc"]
    assert fc.weight is not None and graph.output == "fc"
    assert torch.allclose(fc.weight, module.gamma.double()[:, None] * module.fc.weight.double(), rtol=1e-15)


def test_what_nothing_reads_is_left_out() -> None:
    class Wasteful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.head = nn.Linear(3 * SIZE * SIZE, 7), nn.Linear(3 * SIZE * SIZE, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x.flatten(1))
            return self.head(x.flatten(1))

    assert "unused" not in capture(Wasteful().eval(), (3, SIZE, SIZE)).nodes


class Attention(nn.Module):
    """Queries with a factor, moved by views before they are multiplied; an activation function behind views."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.fc, self.head = nn.Linear(3, 12), nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        scaled = (q * 0.37).unflatten(-1, (2, 2)).transpose(1, 2)
        keys = k.unflatten(-1, (2, 2)).permute(0, 2, 3, 1)
        y = ((scaled @ keys).softmax(-1) @ v.unflatten(-1, (2, 2)).transpose(1, 2)).transpose(1, 2).flatten(2)
        z = self.fc(y).transpose(1, 2).reshape(y.shape[0], 6, SIZE, SIZE)
        return self.head(functional.hardswish(z).mean((2, 3)))


def test_a_factor_goes_into_the_product_that_reads_it_through_views() -> None:
    module = Attention()
    seeded(module)
    graph, x = capture(module, (3, SIZE, SIZE)), images(SIZE)
    assert [node.name for node in graph if node.op == "scale"] == []
    assert [node.attrs["scale"] for node in graph if node.op == "matmul"] == [0.37, 1.0]
    assert relative_error(graph_logits(graph, x), double_logits(module, x)) < 1e-12


def test_an_activation_function_comes_before_the_views_between_it_and_its_layer() -> None:
    module = Attention()
    seeded(module)
    graph = capture(module, (3, SIZE, SIZE))
    (function,) = [node for node in graph if node.op == "unary"]
    assert function.inputs == ("fc",) and function.shape == (-1, SIZE * SIZE, 6)
    order = list(graph.nodes)
    assert all(order.index(name) < order.index(node.name) for node in graph for name in node.inputs)


def test_an_activation_function_stays_where_its_layer_or_a_view_is_read_elsewhere_or_numbers_are_dropped() -> None:
    class Views(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.conv, self.kind = nn.Conv2d(3, 4, 3), kind

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z = y[:, :2] if self.kind == "dropped" else y.flatten(2)
            moved = torch.relu(z).flatten(1)
            if self.kind == "layer read":
                return moved + y.flatten(1)
            return moved + z.flatten(1) if self.kind == "view read" else moved

    for kind, before in (("dropped", False), ("layer read", False), ("view read", False), ("neither", True)):
        module = Views(kind)
        seeded(module)
        graph, x = capture(module, (3, SIZE, SIZE)), images(SIZE)
        (function,) = [node for node in graph if node.op == "unary"]
        assert (function.inputs == ("conv",)) == before, kind
        assert relative_error(graph_logits(graph, x), double_logits(module, x)) < 1e-12
