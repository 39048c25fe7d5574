"""Operations that stand for several nodes: attention, einsum, group norm, pools and convolutions of other shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.graph.arithmetic import MASK_LEVEL, axes_of
from landscape.graph.call import Call, Steps, UnsupportedError
from landscape.graph.ir import Node
from landscape.graph.moves import PADDINGS, padding_places, taken, windows

_HIDDEN = -1e4
"""Added to the logits of hidden tokens, in place of minus infinity."""


def pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one for each."""
    if isinstance(value, int):
        return value, value
    numbers = [int(number) for number in value]
    return numbers[0], numbers[-1]


def attention_nodes(call: Call) -> list[Node]:
    """Scaled dot-product attention as the products and the softmax that it stands for."""
    a = call.arguments
    if a.get("is_causal") or a.get("enable_gqa"):
        raise UnsupportedError("scaled_dot_product_attention that is causal or groups its queries")
    query, key = call.value("query"), call.value("key")
    tokens, width = call.shapes[key][-2:]
    factor = width**-0.5 if a.get("scale") is None else float(a["scale"])
    shape = (*call.shapes[query][:-1], tokens)
    steps = Steps(call)
    keys = steps.view(key, (*call.shapes[key][:-2], width, tokens), torch.transpose, -2, -1)
    logits = _with_mask(steps, call, steps.add("matmul", shape, query, keys, scale=factor), shape)
    chances = steps.add("softmax", shape, logits)
    steps.add("matmul", call.shape, chances, call.value("value"), scale=1.0)
    return steps.nodes


def _with_mask(steps: Steps, call: Call, logits: str, shape: tuple[int, ...]) -> str:
    """Adds an attention mask: numbers such as position biases, and what hides tokens."""
    if call.arguments.get("attn_mask") is None:
        return logits
    mask = call.constant(call.arguments["attn_mask"])
    if mask is None:
        return steps.add("add", shape, logits, call.value("attn_mask"))
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, _HIDDEN).double()
    hidden = mask <= MASK_LEVEL
    biases = torch.where(hidden, 0.0, mask)
    if bool(biases.any()):
        added = steps.constant(biases, "attn_mask") if bool(hidden.any()) else call.value("attn_mask")
        logits = steps.add("add", shape, logits, added)
    if bool(hidden.any()):
        logits = steps.add("mask_add", shape, logits, mask=torch.where(hidden, _HIDDEN, 0.0).double())
    return logits


def masked_fill_nodes(call: Call) -> list[Node]:
    """``masked_fill`` of logits with minus infinity, or the like: an attention mask."""
    mask, value = call.tensor("mask"), call.arguments["value"]
    if mask is None or call.is_value(value) or float(value) > MASK_LEVEL:
        raise UnsupportedError("masked_fill other than of logits that are to be hidden")
    return [call.node("mask_add", call.value("self"), mask=torch.where(mask.bool(), _HIDDEN, 0.0).double())]


def softmax_nodes(call: Call) -> list[Node]:
    """Softmax over any axis but that of the images, which is brought to the end."""
    rank = len(call.shape)
    (axis,) = axes_of(call.arguments["dim"], rank, call.op)
    if call.shape[axis] == -1:
        raise UnsupportedError("softmax over images")
    if axis == rank - 1:
        return [call.node("softmax", call.value("self"))]
    steps, order = Steps(call), list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    shape = tuple(call.shape[i] for i in order)
    chances = steps.add("softmax", shape, steps.permuted(call.value("self"), call.shape, tuple(order)))
    steps.permuted(chances, shape, tuple(order))
    return steps.nodes


def group_norm_nodes(call: Call) -> list[Node]:
    """Group normalisation as a LayerNorm over each group, and a factor and shift per channel."""
    groups, channels = int(call.arguments["num_groups"]), call.shape[1]
    values = math.prod(call.shape[1:]) // groups
    ones, zeros = torch.ones(values, dtype=torch.float64), torch.zeros(values, dtype=torch.float64)
    weight, bias = call.tensor("weight"), call.tensor("bias")
    weight = torch.ones(channels, dtype=torch.float64) if weight is None else weight
    eps, grouped, steps = call.arguments.get("eps", 1e-5), (-1, groups, values), Steps(call)
    rows = steps.reshaped(call.value("input"), grouped)
    norm = steps.add("layer_norm", grouped, rows, weight=ones, bias=zeros, eps=eps, grouped=True)
    steps.add("affine", call.shape, steps.reshaped(norm, call.shape), weight=weight, bias=bias, axis=1)
    return steps.nodes


def einsum_nodes(call: Call) -> list[Node]:
    """A product of two values by the letters of their axes: permuted, as one matrix product, and permuted back."""
    equation = str(call.arguments["equation"]).replace(" ", "")
    names = [argument[1:] for argument in call.arguments["tensors"]]
    terms, _, result = equation.partition("->")
    letters = terms.split(",")
    if len(names) != 2 or not result or "." in equation or any(len(set(term)) != len(term) for term in letters):
        raise UnsupportedError(f"einsum of {equation!r}; only of two values, with a result, each letter once a term")
    sizes = {
        letter: size
        for term, name in zip(letters, names, strict=True)
        for letter, size in zip(term, call.shapes[name], strict=True)
    }
    first, second = letters
    shared = [letter for letter in first if letter in second]
    batch = [letter for letter in shared if letter in result]
    contracted = [letter for letter in shared if letter not in result]
    rows, columns = ([letter for letter in term if letter not in shared] for term in letters)
    if any(letter not in result for letter in (*rows, *columns)):
        raise UnsupportedError(f"einsum of {equation!r}, which sums along an axis of one value")

    def size(group: list[str]) -> int:
        return -1 if any(sizes[letter] == -1 for letter in group) else math.prod(sizes[letter] for letter in group)

    steps, operands = Steps(call), []
    for name, term, parts in zip(names, letters, ((rows, contracted), (contracted, columns)), strict=True):
        order = tuple(term.index(letter) for letter in (*batch, *parts[0], *parts[1]))
        moved = steps.permuted(name, call.shapes[name], order)
        operands.append(steps.reshaped(moved, (size(batch), size(parts[0]), size(parts[1]))))
    if len([group for group in (batch, rows, columns) if size(group) == -1]) > 1:
        raise UnsupportedError(f"einsum of {equation!r}, which multiplies images with images")
    product = steps.add("matmul", (size(batch), size(rows), size(columns)), *operands, scale=1.0)
    axes = [*batch, *rows, *columns]
    shape = tuple(sizes[letter] for letter in axes)
    steps.permuted(steps.reshaped(product, shape), shape, tuple(axes.index(letter) for letter in result))
    return steps.nodes


def stack_nodes(call: Call) -> list[Node]:
    """``stack`` as a concatenation along a new axis."""
    steps, (dim,) = Steps(call), axes_of(call.arguments.get("dim", 0), len(call.shape), "stack")
    part = (*call.shape[:dim], 1, *call.shape[dim + 1 :])
    parts = [steps.view(argument[1:], part, torch.unsqueeze, dim) for argument in call.arguments["tensors"]]
    steps.add("cat", call.shape, *parts, dim=dim)
    return steps.nodes


def replaced_nodes(call: Call) -> list[Node]:
    """``slice_scatter``: a value with a part of it replaced, as a concatenation."""
    a, steps, source = call.arguments, Steps(call), call.value("self")
    (dim,) = axes_of(a.get("dim", 0), len(call.shape), call.op)
    size = call.shape[dim]
    if size == -1 or a.get("step", 1) != 1:
        raise UnsupportedError("slice_scatter along the images, or with steps")
    first, last, _ = slice(a.get("start"), a.get("end")).indices(size)
    parts = []
    for start, end in ((0, first), (last, size)):
        shape = (*call.shape[:dim], end - start, *call.shape[dim + 1 :])
        parts.append(steps.view(source, shape, torch.narrow, dim, start, end - start) if end > start else None)
    before, after = parts
    names = [name for name in (before, call.value("src"), after) if name is not None]
    if len(names) == 1:
        return [call.node("identity", names[0])]
    steps.add("cat", call.shape, *names, dim=dim)
    return steps.nodes


def maximum_nodes(call: Call) -> list[Node]:
    """``amax`` or ``max`` over some axes, as the maximum of one window."""
    source = call.value("self")
    shape = call.shapes[source]
    axes = axes_of(call.arguments.get("dim"), len(shape), call.op)
    others = [axis for axis in range(len(shape)) if axis not in axes]
    if others[:1] != [0] or shape[0] != -1:
        raise UnsupportedError(f"{call.op} over images, or where images lie along a later axis")
    count, steps = math.prod(shape[axis] for axis in axes), Steps(call)
    rest = math.prod(shape[axis] for axis in others[1:])
    moved = steps.permuted(source, shape, (*others, *axes))
    rows = steps.reshaped(moved, (-1, rest, count, 1))
    window = ((count, 1), (count, 1), (0, 0), (1, 1), False)
    steps.reshaped(steps.add("max_pool2d", (-1, rest, 1, 1), rows, args=window), call.shape)
    return steps.nodes


# -- convolutions


def convolution(call: Call) -> Node:
    """``conv2d``."""
    a = call.arguments
    weight, dilation = _weight(call), pair(a.get("dilation") or 1)
    return call.node(
        "conv2d",
        call.value("input"),
        weight=weight,
        bias=call.tensor("bias"),
        stride=pair(a.get("stride") or 1),
        padding=_conv_padding(a.get("padding") or 0, pair(weight.shape[-2:]), dilation),
        dilation=dilation,
        groups=a.get("groups") or 1,
    )


def _weight(call: Call) -> Tensor:
    weight = call.tensor("weight")
    assert weight is not None
    return weight


def _conv_padding(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding != "same":
        return pair(padding)
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(number % 2 for number in total):
        raise UnsupportedError("a convolution with padding='same' that pads one side more; pad by a module of its own")
    return total[0] // 2, total[1] // 2


def _single(value: Any) -> int:
    return int(value) if isinstance(value, int) else int(value[0])


def convolution_1d_nodes(call: Call) -> list[Node]:
    """``conv1d`` as a convolution of images of one row."""
    a, weight, steps = call.arguments, _weight(call).unsqueeze(2), Steps(call)
    shape, dilation = call.shapes[call.value("input")], _single(a.get("dilation") or 1)
    padding = a.get("padding") or 0
    if isinstance(padding, str):
        padding = _conv_padding(padding, (1, weight.shape[-1]), (1, dilation))[1]
    rows = steps.view(call.value("input"), (*shape[:2], 1, shape[2]), torch.unsqueeze, 2)
    found = steps.add(
        "conv2d", (*call.shape[:2], 1, call.shape[2]), rows, weight=weight, bias=call.tensor("bias"),
        stride=(1, _single(a.get("stride") or 1)), padding=(0, _single(padding)), dilation=(1, dilation),
        groups=a.get("groups") or 1,
    )  # fmt: skip
    steps.view(found, call.shape, torch.squeeze, 2)
    return steps.nodes


def convolution_3d_nodes(call: Call) -> list[Node]:
    """``conv3d`` whose kernel reaches along two axes only: convolutions of images, as many as the third axis is long."""
    a, weight, steps = call.arguments, _weight(call), Steps(call)
    stride, padding, dilation = (_triple(a.get(key) or other) for key, other in _WINDOW)
    axes = list(zip(weight.shape[2:], stride, padding, strict=True))
    if (1, 1, 0) not in axes:
        raise UnsupportedError("conv3d whose kernel reaches along three axes")
    alone = 2 + axes.index((1, 1, 0))
    first, second = (axis for axis in (2, 3, 4) if axis != alone)
    shape, order = call.shapes[call.value("input")], (0, alone, 1, first, second)
    moved = steps.permuted(call.value("input"), shape, order)
    planes = steps.reshaped(moved, (-1, shape[1], shape[first], shape[second]))
    size = (call.shape[1], call.shape[first], call.shape[second])
    found = steps.add(
        "conv2d", (-1, *size), planes, weight=weight.squeeze(alone), bias=call.tensor("bias"),
        stride=(stride[first - 2], stride[second - 2]), padding=(padding[first - 2], padding[second - 2]),
        dilation=(dilation[first - 2], dilation[second - 2]), groups=a.get("groups") or 1,
    )  # fmt: skip
    apart = (-1, shape[alone], *size)
    steps.permuted(steps.reshaped(found, apart), apart, tuple(order.index(axis) for axis in range(5)))
    return steps.nodes


def _triple(value: Any) -> tuple[int, int, int]:
    numbers = [int(value)] * 3 if isinstance(value, int) else [int(number) for number in value]
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def transposed_convolution_nodes(call: Call) -> list[Node]:
    """``conv_transpose2d`` as a convolution of the image with zeros between its pixels, the kernel turned around."""
    a, weight, steps = call.arguments, _weight(call), Steps(call)
    stride, padding, dilation = (pair(a.get(key) or other) for key, other in _WINDOW)
    extra, groups = pair(a.get("output_padding") or 0), a.get("groups") or 1
    channels, height, width = call.shapes[call.value("input")][1:]
    inputs, outputs, *kernel = weight.shape
    turned = weight.reshape(groups, inputs // groups, outputs, *kernel).transpose(1, 2).flip(-2, -1)
    spread = (height * stride[0], width * stride[1])
    image = steps.reshaped(call.value("input"), (-1, channels, height, 1, width, 1))
    zeros = (0, stride[1] - 1, 0, 0, 0, stride[0] - 1)
    image = steps.view(image, (-1, channels, height, stride[0], width, stride[1]), functional.pad, zeros)
    image = steps.reshaped(image, (-1, channels, *spread))
    before = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    after = [b + e - (s - 1) for b, e, s in zip(before, extra, stride, strict=True)]
    padded = tuple(size + b + e for size, b, e in zip(spread, before, after, strict=True))
    edges = (before[1], after[1], before[0], after[0])
    steps.add(
        "conv2d", call.shape, steps.view(image, (-1, channels, *padded), functional.pad, edges),
        weight=turned.reshape(groups * outputs, inputs // groups, *kernel), bias=call.tensor("bias"),
        stride=(1, 1), padding=(0, 0), dilation=dilation, groups=groups,
    )  # fmt: skip
    return steps.nodes


_WINDOW = (("stride", 1), ("padding", 0), ("dilation", 1))


# -- pools, other sizes, windows


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


def adaptive_maximum_pool(call: Call) -> Node:
    """``adaptive_max_pool2d`` with windows of one size."""
    source = call.value("self")
    height, width = call.shapes[source][-2:]
    rows, columns = call.shape[-2:]
    if height % rows or width % columns:
        raise UnsupportedError(f"adaptive_max_pool2d from {height}x{width} to {rows}x{columns} (unequal windows)")
    window = (height // rows, width // columns)
    return call.node("max_pool2d", source, args=(window, window, (0, 0), (1, 1), False))


def average_pool_1d_nodes(call: Call) -> list[Node]:
    """``avg_pool1d`` as a pool of images of one row."""
    a, steps = call.arguments, Steps(call)
    kernel, padding = _single(a["kernel_size"]), _single(a.get("padding") or 0)
    if a.get("ceil_mode") or (padding and a.get("count_include_pad") is False):
        raise UnsupportedError("avg_pool1d whose windows have different counts")
    shape = call.shapes[call.value("self")]
    rows = steps.view(call.value("self"), (*shape[:2], 1, shape[2]), torch.unsqueeze, 2)
    pooled = steps.add(
        "avg_pool2d", (*call.shape[:2], 1, call.shape[2]), rows, kernel=(1, kernel),
        stride=(1, _single(a.get("stride") or kernel)), padding=(0, padding),
    )  # fmt: skip
    steps.view(pooled, call.shape, torch.squeeze, 2)
    return steps.nodes


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
    height, width = call.shapes[call.value("input" if "input" in call.arguments else "self")][-2:]
    numbers = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    found = _probed(call, numbers)[0, 0].long()
    source = call.value("input" if "input" in call.arguments else "self")
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


def repeated(call: Call) -> Node:
    """``repeat``, ``tile`` and ``repeat_interleave`` by numbers: a view."""
    source = call.value("self")
    if call.op == "repeat_interleave":
        count, axis = call.arguments["repeats"], call.arguments.get("dim")
        if not isinstance(count, int) or axis is None:
            raise UnsupportedError("repeat_interleave other than by a number along an axis")
        return call.node("view", source, call=torch.repeat_interleave, args=(count, axis))
    counts = call.arguments["repeats" if call.op == "repeat" else "dims"]
    shape = call.shapes[source]
    added = [1] * (len(counts) - len(shape))
    if any(call.is_value(c) or (size == -1 and c != 1) for c, size in zip(counts, (*added, *shape), strict=True)):
        raise UnsupportedError(f"{call.op} of images")
    return call.node("view", source, call=torch.Tensor.repeat, args=(tuple(counts),))


def expanded(call: Call) -> Node:
    """``expand``: of a constant for every image, or of a value along its other axes, which is a view."""
    source = call.value("self")
    if source in call.constants:
        return call.node("expand", source)
    if call.shape.count(-1) != 1 or call.shape.index(-1) - len(call.shape) != _images(call.shapes[source]):
        raise UnsupportedError("expand of a value of single images for all")
    return call.node("view", source, call=torch.Tensor.expand, args=(call.shape,))


def _images(shape: tuple[int, ...]) -> int | None:
    """The axis of images, from the end."""
    return shape.index(-1) - len(shape) if shape.count(-1) == 1 else None


def checked(nodes: Sequence[Node]) -> None:
    """Refuse what only holds before a maximum pool, where something else reads it."""
    for node in nodes:
        if node.attrs.get("lowest"):
            for reader in nodes:
                if node.name in reader.inputs and not (reader.op == "max_pool2d" and reader.attrs["args"][3] == (1, 1)):
                    raise UnsupportedError("padding with minus infinity other than before a maximum pool")
