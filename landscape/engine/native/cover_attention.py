"""Attention in plans: its two products and the softmax between them as one step, or each by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.parameters import LARGEST_POWER
from landscape.engine.native.plan import ATTENTION, LARGEST_DEPTH, MATRICES, SOFTMAX, Place
from landscape.graph import Node
from landscape.quant.qparams import CodeRange
from landscape.quant.softmax import MAX_TOKENS


def cover_softmax(builder: Builder, node: Node) -> bool:
    """A softmax that was put off together with the product before it, or by itself."""
    if node.name in builder.pending:
        return True
    placement, x = builder.network.placements.get(node.name), builder.place(node.inputs[0])
    axis = layouts.batch_axis(node)
    if placement is None or placement.kind != "uniform" or node.shape[-1] > MAX_TOKENS or axis is None:
        return False
    if x is None or not x.coded or axis == len(node.shape) - 1:
        return False
    x, strides = builder.rows(x)
    out = builder.new_place(layouts.in_order(node, axis), node.name)
    builder.places[node.name] = out
    source = x.source
    builder.step(
        SOFTMAX, (x.buffer,), out.buffer, (*strides.sizes, strides.offset, strides.steps[0]), f"softmax {node.name}",
        (f"{source}.output", f"{node.name}.output"), lambda native: native.softmax_parameters(node, source),
    )  # fmt: skip
    return True


def cover_matmul(builder: Builder, node: Node) -> bool:
    """The first product of attention is put off, with its softmax, until the second comes; others are steps."""
    softmax = builder.graph[node.inputs[0]]
    if softmax.name in builder.pending:
        return _emit_attention(builder, node, softmax)
    if _begins_attention(builder, node):
        reader = builder.sole_reader(node)
        assert reader is not None
        builder.pending[node.name] = Pending((node,))
        builder.pending[reader.name] = Pending((reader,))
        return True
    if not _is_product(builder, node):
        return False
    if builder.uniform(node):
        emit_product(builder, node, node)
        return True
    reader = builder.sole_reader(node)
    if builder.quantizer(node.name) is not None or reader is None or reader.op != "unary":
        return False
    if builder.uniform(reader):
        builder.pending[node.name] = Pending((node,), node)
    return builder.uniform(reader)


def _begins_attention(builder: Builder, node: Node) -> bool:
    reader = builder.sole_reader(node)
    if reader is None or reader.op != "softmax" or not builder.uniform(node) or reader.shape[-1] > MAX_TOKENS:
        return False
    placement, last = builder.network.placements.get(reader.name), builder.sole_reader(reader)
    if placement is None or (placement.kind == "uniform" and not builder.uniform(reader)):
        return False
    if placement.kind == "log2" and CodeRange(placement.bits).qmax > LARGEST_POWER:
        return False
    if last is None or last.op != "matmul" or last.inputs[0] != reader.name or not builder.uniform(last):
        return False
    q, k, v = builder.place(node.inputs[0]), builder.place(node.inputs[1]), builder.place(last.inputs[1])
    if q is None or k is None or v is None or any(layouts.batch_axis(n) is None for n in (node, reader, last)):
        return False
    if not all(_heads(image) for image in _images(q, k, v)):
        return False
    return q.coded and k.coded and v.coded and q.layout.image.shape[-1] <= LARGEST_DEPTH


def _is_product(builder: Builder, node: Node) -> bool:
    """Whether both operands are codes of matrices, as many of one as of the other."""
    a, b, axis = builder.place(node.inputs[0]), builder.place(node.inputs[1]), layouts.batch_axis(node)
    if a is None or b is None or axis is None or axis >= len(node.shape) - 2:
        return False
    first, second = a.layout.image, b.layout.image
    return a.coded and b.coded and first.shape[:-2] == second.shape[:-2] and first.shape[-1] <= LARGEST_DEPTH


def emit_product(builder: Builder, node: Node, last: Node) -> None:
    """A product with the quantizer of `last`: its own, or the activation function's behind it."""
    a, b, axis = builder.place(node.inputs[0]), builder.place(node.inputs[1]), layouts.batch_axis(node)
    assert a is not None and b is not None and axis is not None
    first, second = a.layout.image, b.layout.image
    rows, depth, columns = first.shape[-2], first.shape[-1], second.shape[-1]
    turned = _heads(second.transpose(-2, -1))
    (a, of_a), (b, of_b) = (
        _as_heads(builder, a, first),
        _as_heads(builder, b, second) if turned is None else (b, turned),
    )
    geometry = (of_a.offset, *of_a.steps[:2], of_b.offset, *of_b.steps[:2], 0, rows * columns, columns)
    out = builder.new_place(layouts.in_order(node, axis), last.name)
    builder.places[last.name] = out
    sources, count, by_columns = (a.source, b.source), of_a.sizes[0], turned is None
    builder.step(
        MATRICES, (a.buffer, b.buffer), out.buffer, geometry, f"product {last.name} {by_columns}",
        tuple(f"{name}.output" for name in (*sources, last.name)),
        lambda native: native.product_parameters(node, last, sources, (count, rows, depth, columns), by_columns),
    )  # fmt: skip


def _as_heads(builder: Builder, place: Place, image: Tensor) -> tuple[Place, layouts.Strides]:
    """A value as matrices whose rows' numbers lie side by side, copied where they do not."""
    found = _heads(image)
    if found is not None:
        return place, found
    found = _heads(torch.arange(image.numel()).reshape(image.shape))
    assert found is not None
    return builder.copied(place, image), found


def _images(q: Place, k: Place, v: Place) -> tuple[Tensor, Tensor, Tensor]:
    return q.layout.image, k.layout.image.transpose(-2, -1), v.layout.image


def _heads(image: Tensor) -> layouts.Strides | None:
    """Strides by head, token and number of (..., tokens, depth), numbers side by side."""
    if image.ndim < 2:
        return None
    found = layouts.regular(image.reshape(-1, *image.shape[-2:]))
    return found if found is not None and (found.steps[2] == 1 or found.sizes[2] == 1) else None


def _emit_attention(builder: Builder, node: Node, softmax: Node) -> bool:
    logits = builder.graph[softmax.inputs[0]]
    axis = layouts.batch_axis(node)
    q, k, v = (builder.place(name) for name in (logits.inputs[0], logits.inputs[1], node.inputs[1]))
    assert q is not None and k is not None and v is not None and axis is not None
    strides = [_heads(image) for image in _images(q, k, v)]
    geometry: list[int] = []
    for found in strides:
        assert found is not None
        geometry += [found.offset, *found.steps[:2]]
    assert strides[0] is not None and strides[1] is not None and strides[2] is not None
    (heads, queries, depth), tokens, width = strides[0].sizes, strides[1].sizes[1], strides[2].sizes[2]
    shape = image_shape(node, axis)
    image = torch.arange(heads * queries * width).reshape(queries, heads, width).permute(1, 0, 2).reshape(shape)
    out = builder.new_place(layouts.dense(image, axis), node.name)
    del builder.pending[logits.name], builder.pending[softmax.name]
    builder.places[node.name] = out
    sources = (q.source, k.source, v.source)
    own = [softmax.name] if softmax.name in builder.network.activations else []  # Log-Int-Softmax has no quantizer
    depends = tuple(f"{n}.output" for n in (*sources, logits.name, *own, node.name))
    sizes = (depth, tokens, width)
    builder.step(
        ATTENTION, (q.buffer, k.buffer, v.buffer), out.buffer, (heads, queries, *geometry, 0, width, heads * width),
        f"attention {node.name}", depends,
        lambda native: native.attention_parameters(sizes, sources, logits, softmax, node),
    )  # fmt: skip
    return True
