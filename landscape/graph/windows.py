"""Pools, paddings, interpolation, and what else reads images window by window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from landscape.graph.call import Call, Steps, UnsupportedError, pair
from landscape.graph.convolutions import single
from landscape.graph.ir import Node
from landscape.graph.moves import PADDINGS, padding_places, taken, windows


def average_pool(call: Call) -> Node:
    """``avg_pool2d``; where windows have different counts (at the edges), a resampling."""
    a = call.arguments
    kernel, padding = pair(a["kernel_size"]), pair(a.get("padding") or 0)
    stride, sizes = pair(a.get("stride") or kernel), call.shapes[call.value("self")][-2:]
    beyond = a.get("ceil_mode") and any(
        (size + 2 * p - k) % s for size, p, k, s in zip(sizes, padding, kernel, stride, strict=True)
    )
    if beyond or a.get("divisor_override") or (padding != (0, 0) and a.get("count_include_pad") is False):
        return resampled(call)
    return call.node("avg_pool2d", call.value("self"), kernel=kernel, stride=stride, padding=padding)


def average_pool_1d_nodes(call: Call) -> list[Node]:
    """``avg_pool1d`` as a pool of images of one row."""
    a, steps = call.arguments, Steps(call)
    kernel, padding = single(a["kernel_size"]), single(a.get("padding") or 0)
    if a.get("ceil_mode") or (padding and a.get("count_include_pad") is False):
        raise UnsupportedError("avg_pool1d whose windows have different counts")
    shape = call.shapes[call.value("self")]
    rows = steps.view(call.value("self"), (*shape[:2], 1, shape[2]), torch.unsqueeze, 2)
    pooled = steps.add(
        "avg_pool2d", (*call.shape[:2], 1, call.shape[2]), rows, kernel=(1, kernel),
        stride=(1, single(a.get("stride") or kernel)), padding=(0, padding),
    )  # fmt: skip
    steps.view(pooled, call.shape, torch.squeeze, 2)
    return steps.nodes


def adaptive_maximum_pool(call: Call) -> Node:
    """``adaptive_max_pool2d`` with windows of one size."""
    source = call.value("self")
    height, width = call.shapes[source][-2:]
    rows, columns = call.shape[-2:]
    if height % rows or width % columns:
        raise UnsupportedError(f"adaptive_max_pool2d from {height}x{width} to {rows}x{columns} (unequal windows)")
    window = (height // rows, width // columns)
    return call.node("max_pool2d", source, args=(window, window, (0, 0), (1, 1), False))


def adaptive_average_pool(call: Call) -> Node:
    """``adaptive_avg_pool2d``: a mean, equal windows, or else a resampling."""
    source = call.value("self")
    height, width = call.shapes[source][-2:]
    rows, columns = call.shape[-2:]
    if (rows, columns) == (1, 1):
        return call.node("mean", source, dims=(2, 3), keepdim=True)
    if height % rows or width % columns:
        return resampled(call)
    window = (height // rows, width // columns)
    return call.node("avg_pool2d", source, kernel=window, stride=window, padding=(0, 0))


def resampled(call: Call) -> Node:
    """Interpolation, and averages over unequal windows: A x B^T on the last two axes, A and B found by probing."""
    source = call.value("self" if "self" in call.arguments else "input")
    height, width = call.shapes[source][-2:]
    one_row, one_column = torch.eye(height, dtype=torch.float64), torch.eye(width, dtype=torch.float64)
    rows = _probed(call, one_row.reshape(1, height, height, 1).expand(-1, -1, -1, width))
    columns = _probed(call, one_column.reshape(1, width, 1, width).expand(-1, -1, height, -1))
    down, across = rows[0, :, :, 0].T, columns[0, :, 0, :].T
    sums = torch.cat([down.sum(1), across.sum(1)])
    if not torch.allclose(sums, torch.ones_like(sums)):  # else probing along one axis would count the other's zeros
        raise UnsupportedError(f"{call.op} whose windows have different counts of zeros")
    (row_taps, row_weights), (column_taps, column_weights) = _taps(down), _taps(across)
    return call.node(
        "resample", source, row_taps=row_taps, row_weights=row_weights, column_taps=column_taps,
        column_weights=column_weights,
    )  # fmt: skip


def _probed(call: Call, x: Tensor) -> Tensor:
    """What the operation makes of another tensor."""
    rest = list(call.arguments.items())[1:]
    if any(call.is_value(argument) for _, argument in rest):
        raise UnsupportedError(f"{call.op} to a size that depends on the images")
    result = call.target(x.contiguous(), **dict(rest))
    assert isinstance(result, Tensor)
    return result


def _taps(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A sparse matrix (out, in) as its places and numbers, row by row: (taps, out) each; unused ones have weight 0."""
    most = int((matrix != 0).sum(1).max())
    places = (matrix != 0).to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return places.T.contiguous(), matrix.gather(1, places).T.contiguous()


def nearest(call: Call) -> Node:
    """``upsample_nearest2d``: pixels repeated, or left out."""
    source = call.value("input" if "input" in call.arguments else "self")
    height, width = call.shapes[source][-2:]
    numbers = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    found = _probed(call, numbers)[0, 0].long()
    return call.node("view", source, call=taken, args=((found[:, 0] // width, found[0] % width),))


def padding(call: Call) -> Node:
    """``pad``: with zeros, or with the image's own numbers; with minus infinity, only before a maximum pool."""
    a, source = call.arguments, call.value("self")
    mode, value = a.get("mode", "constant"), a.get("value") or 0.0
    edges = tuple(a["pad"])
    if not any(edges):
        return call.node("identity", source)
    if mode == "constant" and value == 0.0:
        return call.node("view", source, call=functional.pad, args=(edges,))
    lowest = mode == "constant" and value == -math.inf
    if mode not in PADDINGS and not lowest:
        raise UnsupportedError(f"padding other than with zeros or with the value's own numbers ({mode}, {value})")
    # A window of a maximum pool that reaches beyond an edge holds the pixels at the edge: repeating them adds nothing.
    axes = list(zip(edges[::2], edges[1::2], strict=True))[::-1]
    sizes = call.shapes[source][-len(axes) :]
    filled = "replicate" if lowest else mode
    places = tuple(padding_places(n, *ends, filled) for n, ends in zip(sizes, axes, strict=True))
    return call.node("view", source, call=taken, args=(places,), lowest=lowest)


def padding_nodes(call: Call) -> list[Node]:
    """``pad``, see `padding`; with another number, the number is joined to the value."""
    a = call.arguments
    edges, value = tuple(a["pad"]), a.get("value") or 0.0
    one_side = [(axis, end, count) for axis, end, count in _edges(edges) if count]
    if a.get("mode", "constant") != "constant" or value in (0.0, -math.inf) or len(one_side) != 1:
        return [padding(call)]
    ((axis, end, count),) = one_side
    axis += len(call.shape)
    shape = (*(1 if size == -1 else size for size in call.shape[:axis]), count, *call.shape[axis + 1 :])
    if count < 0 or call.shape[0] != -1 or -1 in call.shape[1:]:
        return [padding(call)]
    steps = Steps(call)
    number = steps.constant(torch.full(shape, float(value), dtype=torch.float64), "padding")
    everywhere = steps.add("expand", (-1, *shape[1:]), number)
    parts = (everywhere, call.value("self")) if end == 0 else (call.value("self"), everywhere)
    steps.add("cat", call.shape, *parts, dim=axis)
    return steps.nodes


def _edges(edges: Sequence[int]) -> list[tuple[int, int, int]]:
    """Axis from the end, side (0 or 1) and count of a padding."""
    return [(-1 - index // 2, index % 2, int(count)) for index, count in enumerate(edges)]


def maximum_pool(call: Call) -> Node:
    """``max_pool2d``."""
    a = call.arguments
    kernel = pair(a["kernel_size"])
    args = (kernel, pair(a.get("stride") or kernel), pair(a.get("padding") or 0), pair(a.get("dilation") or 1))
    return call.node("max_pool2d", call.value("self"), args=(*args, bool(a.get("ceil_mode"))))


def _places(size: int, kernel: int, dilation: int, before: int, stride: int) -> Tensor:
    """For every window along an axis which numbers of the padded axis it takes, int64 (windows, kernel)."""
    starts = torch.arange(0, size + 2 * before - dilation * (kernel - 1), stride)
    return starts[:, None] + dilation * torch.arange(kernel)


def windows_nodes(call: Call) -> list[Node]:
    """``im2col`` (``nn.Unfold``): the windows of an image side by side."""
    a, steps, source = call.arguments, Steps(call), call.value("self")
    kernel, dilation, before, stride = (pair(a[key]) for key in ("kernel_size", "dilation", "padding", "stride"))
    *front, height, width = call.shapes[source]
    if any(before):
        edges = (before[1], before[1], before[0], before[0])
        source = steps.view(source, (*front, height + 2 * before[0], width + 2 * before[1]), functional.pad, edges)
    rows, columns = (
        _places(n, k, d, b, s) for n, k, d, b, s in zip((height, width), kernel, dilation, before, stride, strict=True)
    )
    steps.view(source, call.shape, windows, rows, columns)
    return steps.nodes


def folded(call: Call) -> Node:
    """``col2im`` (``nn.Fold``): the sum of overlapping windows."""
    a = call.arguments
    keys = ("output_size", "kernel_size", "dilation", "padding", "stride")
    return call.node("fold", call.value("self"), args=tuple(pair(a[key]) for key in keys))


def checked(nodes: Sequence[Node]) -> None:
    """Refuse what only holds before a maximum pool, where something else reads it."""
    for node in nodes:
        if node.attrs.get("lowest"):
            for reader in nodes:
                if node.name in reader.inputs and not (reader.op == "max_pool2d" and reader.attrs["args"][3] == (1, 1)):
                    raise UnsupportedError(
                        f"padding with minus infinity other than before a maximum pool, in module {node.module!r}"
                    )
