"""Attention in plans: its two products and the softmax between them as one step."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.plan import ATTENTION, LARGEST_DEPTH, Place
from landscape.graph import Node
from landscape.quant.softmax import MAX_TOKENS


def cover_softmax(builder: Builder, node: Node) -> bool:
    """A softmax that was put off together with the product before it."""
    return node.name in builder.pending


def cover_matmul(builder: Builder, node: Node) -> bool:
    """The first product of attention is put off, with its softmax, until the second comes."""
    softmax = builder.graph[node.inputs[0]]
    if softmax.name in builder.pending:
        return _emit_attention(builder, node, softmax)
    reader = builder.sole_reader(node)
    if reader is None or reader.op != "softmax" or not builder.uniform(node) or not builder.uniform(reader):
        return False
    placement, last = builder.network.placements[reader.name], builder.sole_reader(reader)
    if placement.kind != "uniform" or reader.shape[-1] > MAX_TOKENS:
        return False
    if last is None or last.op != "matmul" or last.inputs[0] != reader.name or not builder.uniform(last):
        return False
    q, k, v = builder.place(node.inputs[0]), builder.place(node.inputs[1]), builder.place(last.inputs[1])
    if q is None or k is None or v is None or any(layouts.batch_axis(n) is None for n in (node, reader, last)):
        return False
    if not all(_heads(image) for image in _images(q, k, v)):
        return False
    if not (q.coded and k.coded and v.coded) or q.layout.image.shape[-1] > LARGEST_DEPTH:
        return False
    builder.pending[node.name] = Pending((node,))
    builder.pending[reader.name] = Pending((reader,))
    return True


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
    depends = tuple(f"{n}.output" for n in (*sources, logits.name, softmax.name, node.name))
    sizes = (depth, tokens, width)
    builder.step(
        ATTENTION, (q.buffer, k.buffer, v.buffer), out.buffer, (heads, queries, *geometry, 0, width, heads * width),
        f"attention {node.name}", depends,
        lambda native: native.attention_parameters(sizes, sources, logits, softmax, node),
    )  # fmt: skip
    return True
