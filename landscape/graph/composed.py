"""Operations that stand for several nodes: attention, einsum, group norm, and copies of values."""

from __future__ import annotations

import math

import torch

from landscape.graph.arithmetic import MASK_LEVEL, axes_of
from landscape.graph.call import Call, Steps, UnsupportedError
from landscape.graph.ir import Node

_HIDDEN = -1e4
"""Added to the logits of hidden tokens, in place of minus infinity."""


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
    """``slice_scatter`` and ``select_scatter``: a value with a part of it replaced, as a concatenation."""
    a, steps, source = call.arguments, Steps(call), call.value("self")
    (dim,) = axes_of(a.get("dim", 0), len(call.shape), call.op)
    size = call.shape[dim]
    if size == -1 or a.get("step", 1) != 1:
        raise UnsupportedError("slice_scatter along the images, or with steps")
    part = call.value("src")
    if call.op == "select_scatter":
        first = a["index"] % size
        last = first + 1
        part = steps.view(part, (*call.shape[:dim], 1, *call.shape[dim + 1 :]), torch.unsqueeze, dim)
    else:
        first, last, _ = slice(a.get("start"), a.get("end")).indices(size)
    parts = []
    for start, end in ((0, first), (last, size)):
        shape = (*call.shape[:dim], end - start, *call.shape[dim + 1 :])
        parts.append(steps.view(source, shape, torch.narrow, dim, start, end - start) if end > start else None)
    before, after = parts
    names = [name for name in (before, part, after) if name is not None]
    if len(names) == 1:
        return steps.nodes or [call.node("identity", part)]
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
