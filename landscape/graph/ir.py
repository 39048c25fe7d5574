"""The graph: named nodes in the order in which they are computed.

| op           | inputs      | value                                                             |
|--------------|-------------|-------------------------------------------------------------------|
| `input`      |             | the images, normalised                                            |
| `constant`   |             | `attrs["value"]`                                                  |
| `linear`     | x           | x W^T + b                                                         |
| `conv2d`     | x           | convolution; `attrs`: stride, padding, dilation, groups           |
| `matmul`     | a, b        | `attrs["scale"]` a b                                              |
| `add`        | a, b        | a + b                                                             |
| `mask_add`   | x           | x + `attrs["mask"]`: 0 where seen, a large negative number where not |
| `mul`        | a, b        | a b, element by element                                           |
| `scale`      | x           | `attrs["factor"]` x                                               |
| `affine`     | x           | w x + b, channel by channel along `attrs["axis"]`                 |
| `layer_norm` | x           | over the last axis; `attrs["eps"]`; `grouped` for a group norm    |
| `rms_norm`   | x           | w x / max(sqrt(mean of x^2 + eps), floor), over the last axis     |
| `softmax`    | x           | over the last axis                                                |
| `unary`      | x           | an activation function, `attrs["function"]`                       |
| `mean`       | x           | over `attrs["dims"]`; `attrs["keepdim"]`                          |
| `avg_pool2d` | x           | average of windows; `attrs`: kernel, stride, padding              |
| `max_pool2d` | x           | maximum of windows; `attrs["args"]` as in PyTorch                 |
| `resample`   | x           | A x B^T on the last two axes: interpolation, unequal windows      |
| `fold`       | x           | sum of overlapping windows; `attrs["args"]` as in PyTorch         |
| `cat`        | a, b, ...   | concatenation along `attrs["dim"]`                                |
| `view`       | x           | elements moved, copied or dropped, never changed; `attrs["call"]` |
| `expand`     | x           | a constant repeated for every image                               |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WEIGHTED = ("linear", "conv2d")
"""Operations with a weight that is quantized."""

PRESERVING = ("view", "expand", "max_pool2d")
"""Operations whose output holds only values of their input (zero padding included): codes pass through them."""


@dataclass
class Node:
    """One operation.

    Attributes:
        name: Unique and readable, made of the module's path: ``blocks.5.attn.qkv``, ``blocks.5.attn.softmax``.
        op: One of the operations in the table above.
        inputs: Names of the nodes whose values it reads.
        module: Path of the module that it comes from.
        shape: Shape of its value; -1 stands for the number of images (or a multiple of it).
        attrs: What the operation needs besides, see the table.
        weight: float64; (out, in) or (out, in / groups, kh, kw) for weighted layers, (C,) for norms and `affine`.
        bias: float64 (out,) or None.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    module: str
    shape: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass
class Graph:
    """A network as nodes in the order of computation.

    Attributes:
        nodes: By name, each after its inputs.
        output: Name of the node that holds the logits (N, classes).
        input_shape: (C, H, W) of an image.
    """

    nodes: dict[str, Node]
    output: str
    input_shape: tuple[int, int, int]

    def __repr__(self) -> str:
        """One line: how many nodes and layers, and the shape of an image."""
        size = " x ".join(str(length) for length in self.input_shape)
        return f"Graph({len(self.nodes)} nodes, {len(self.weighted())} layers, images {size})"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def consumers(self) -> dict[str, list[str]]:
        """For every node the names of the nodes that read it (a node that reads it twice stands there twice)."""
        readers: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self:
            for name in node.inputs:
                readers[name].append(node.name)
        return readers

    def weighted(self) -> list[Node]:
        """The layers whose weights are quantized, in order."""
        return [node for node in self if node.op in WEIGHTED]

    def source(self, name: str) -> Node:
        """The node that made the values which `name` holds: itself, or the one before it that is no view."""
        node = self.nodes[name]
        while node.op in PRESERVING:
            node = self.nodes[node.inputs[0]]
        return node

    def attention(self) -> list[str]:
        """Paths of the attention modules, first to last: those that hold a softmax between two matrix products."""
        paths = [self.logits_of(node).module for node in self if node.op == "softmax"]
        return list(dict.fromkeys(paths))

    def logits_of(self, softmax: Node) -> Node:
        """The matrix product q k^T whose logits, with biases and masks added, the softmax reads; itself without one."""
        node = softmax
        while node.op != "matmul":
            upstream = [self.nodes[name] for name in node.inputs if self.nodes[name].op != "constant"]
            if not upstream:
                return softmax
            node = upstream[0]
        # A product of another module is none of this softmax's logits (linear attention normalises keys, say).
        inside = not node.module or f"{softmax.module}.".startswith(f"{node.module}.")
        return node if inside else softmax

    def channel_axis(self, name: str, layer_norm: str) -> int | None:
        """Which axis of a node's value holds the channels that a LayerNorm normalises.

        Args:
            name: The node.
            layer_norm: A LayerNorm that reads it, directly or through views.

        Returns:
            -1 for the last axis, else its number; None where the views mix the axis with others, or for a group norm.
        """
        if self.nodes[layer_norm].attrs.get("grouped"):
            return None
        path: list[Node] = []
        node = self.nodes[self.nodes[layer_norm].inputs[0]]
        while node.name != name:
            path.append(node)
            node = self.nodes[node.inputs[0]]
        images = 2 * math.prod(_rows_needed(self.nodes[view.inputs[0]].shape, view.shape) for view in path)
        shape = [images if size == -1 else size for size in node.shape]
        found = []
        for axis in range(1, len(shape)):
            # Number the places along this axis; the channels' numbers must be the same wherever one looks.
            numbers = torch.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
            seen = numbers.expand(shape).contiguous()
            for view in reversed(path):
                seen = passed(view, seen)
            rows = seen.reshape(-1, seen.shape[-1])
            if bool((rows == rows[0]).all()):
                found.append((shape[axis], axis))
        if not found:
            return None
        axis = max(found)[1]
        return -1 if axis == len(shape) - 1 else axis

    def downstream(self, names: Iterable[str]) -> set[str]:
        """The named nodes and all that depend on them."""
        reached = set(names)
        for node in self:
            if any(name in reached for name in node.inputs):
                reached.add(node.name)
        return reached


def _rows_needed(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Of how many rows there must be a multiple for a view to divide them, as one that splits heads off images."""
    if -1 not in before or -1 not in after:
        return 1
    had, wanted = (math.prod(size for size in shape if size != -1) for shape in (before, after))
    return wanted // math.gcd(had, wanted)


def passed(node: Node, x: Tensor) -> Tensor:
    """What a node that preserves its input's numbers makes of a tensor of integers."""
    if node.op == "max_pool2d":
        largest: Tensor = functional.max_pool2d(x.double(), *node.attrs["args"])
        return largest.to(x.dtype)
    result: Tensor = node.attrs["call"](x, *node.attrs.get("args", ()), **node.attrs.get("kwargs", {}))
    return result


def constant_value(node: Node) -> Tensor:
    """The tensor of a `constant` node."""
    value = node.attrs["value"]
    assert isinstance(value, torch.Tensor)
    return value
