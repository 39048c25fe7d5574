"""Operations on single numbers as tables: a code has no more than 256 values, and the reference computes each.

Factors by channel and activation functions that read codes, alone or one behind the other, need no arithmetic at all
then: what they give is looked up, by channel and code. So are sums and products of two codes, with an activation
function behind them or without.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.engine.reference import Reference
from landscape.engine.values import Codes, Value
from landscape.graph import Node


def channel_axis(nodes: Sequence[Node]) -> int | None:
    """Along which axis of the value the same code has different results, counted from the front; None for nowhere.

    Args:
        nodes: Each the reader of the one before; at most one of them an `affine`.
    """
    for node in nodes:
        if node.op == "affine":
            return int(node.attrs["axis"]) % len(node.shape)
    return None


def code_table(reference: Reference, nodes: Sequence[Node], zero_point: int, scale: float) -> Tensor:
    """Integers that the last node holds, by channel and code of the first one's input: float64 (C or 1, 256).

    Args:
        reference: Arithmetic; its graph's nodes are taken.
        nodes: `affine`, `unary`, `scale`, or a `cat` of which it is a part; each the reader of the one before, the last
            one with codes.
        zero_point: Of the codes.
        scale: Of the codes.
    """
    nodes = [reference.graph[node.name] for node in nodes]
    axis, dimensions = channel_axis(nodes), len(nodes[0].shape)
    spare = 1 if axis == 0 else 0
    shape = [1] * dimensions
    shape[spare] = 256
    weight = next((node.weight for node in nodes if node.weight is not None), None)
    codes = torch.arange(256, dtype=torch.float64, device=_device(reference)).reshape(shape)
    if axis is not None and weight is not None:
        codes = codes.expand([weight.numel() if a == axis else size for a, size in enumerate(shape)])
    integers = _result(reference, nodes, [Codes(codes - zero_point, scale)])
    return integers.movedim(spare, -1).reshape(-1, 256)


def pair_table(reference: Reference, nodes: Sequence[Node], a: tuple[int, float], b: tuple[int, float]) -> Tensor:
    """Integers that the last node holds, by the codes of the first one's inputs: float64 (256, 256).

    Args:
        reference: Arithmetic; its graph's nodes are taken.
        nodes: `add` or `mul`, and perhaps the `unary` behind it; the last one with codes.
        a: Zero point and scale of the first input.
        b: The same of the second.
    """
    codes = torch.arange(256, dtype=torch.float64, device=_device(reference))
    first = Codes((codes - a[0])[:, None].expand(256, 256), a[1])
    second = Codes((codes - b[0]).expand(256, 256), b[1])
    return _result(reference, [reference.graph[node.name] for node in nodes], [first, second])


def _device(reference: Reference) -> str:
    return str(getattr(reference, "device", "cpu"))


def _result(reference: Reference, nodes: Sequence[Node], values: list[Value]) -> Tensor:
    for node in nodes:
        values = [Reference.evaluate(reference, node, values, 256)]
    (value,) = values
    assert isinstance(value, Codes)
    return value.integers.double()
