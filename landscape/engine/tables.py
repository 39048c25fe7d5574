"""Operations on single numbers as tables: a code has no more than 256 values, and the reference computes each.

Factors by channel and activation functions that read codes, alone or one behind the other, need no arithmetic at all
then: what they give is looked up, by channel and code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.engine.reference import Reference
from landscape.engine.values import Codes
from landscape.graph import Node

TABULATED = ("affine", "unary")
"""Operations that tables are made of."""


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
        nodes: Of `TABULATED` or a `scale`, each the reader of the one before, the last one with codes.
        zero_point: Of the codes.
        scale: Of the codes.
    """
    nodes = [reference.graph[node.name] for node in nodes]
    axis, dimensions = channel_axis(nodes), len(nodes[0].shape)
    spare = 1 if axis == 0 else 0
    shape = [1] * dimensions
    shape[spare] = 256
    weight = next((node.weight for node in nodes if node.weight is not None), None)
    device = None if weight is None else weight.device
    codes = torch.arange(256, dtype=torch.float64, device=device).reshape(shape)
    if axis is not None and weight is not None:
        codes = codes.expand([weight.numel() if a == axis else size for a, size in enumerate(shape)])
    value = Codes(codes - zero_point, scale)
    for node in nodes:
        found = Reference.evaluate(reference, node, [value], 256)
        value = found  # type: ignore[assignment]  # the last one's are codes
    return value.integers.double().movedim(spare, -1).reshape(-1, 256)
