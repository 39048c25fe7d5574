"""Sums, activation functions and factors in plans: behind a layer that was put off, or by themselves."""

from __future__ import annotations

import torch

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.cover_attention import emit_product
from landscape.engine.native.cover_layers import clamped_reader, emit_layer
from landscape.engine.native.cover_rows import emit_rows
from landscape.engine.native.plan import TABLE, Place
from landscape.engine.tables import channel_axis
from landscape.graph import Node


def cover_sum(builder: Builder, node: Node) -> bool:
    """A sum: behind a layer that was put off, or by itself; put off where an activation function clamps it."""
    waiting = [name for name in node.inputs if name in builder.pending]
    if waiting:
        other = builder.place(next(name for name in node.inputs if name != waiting[0]))
        pending = builder.pending.pop(waiting[0])
        assert pending.layer is not None
        if other is None or not other.summable:  # a view that no plan has
            builder.pending[waiting[0]] = pending
            return False
        if builder.quantizer(node.name) is None:
            builder.pending[node.name] = Pending((*pending.nodes, node), pending.layer, other)
        else:
            emit_layer(builder, pending.layer, node, other)
        return True
    if builder.quantizer(node.name) is not None:
        return emit_sum(builder, node, node)
    if clamped_reader(builder, node) is None or _operands(builder, node, node) is None:
        return False
    builder.pending[node.name] = Pending((node,))
    return True


def _operands(builder: Builder, node: Node, last: Node) -> tuple[Place, Place] | None:
    axis = layouts.batch_axis(last)
    if axis is None:
        return None
    operands = []
    for name in node.inputs:
        source = builder.graph.source(name)
        constant = source.op == "constant"
        found = builder.constant(name, source.name, last, axis) if constant else builder.place(name)
        if found is None or not found.summable or found.layout.image.shape != image_shape(last, axis):
            return None
        operands.append(found)
    return operands[0], operands[1]


def emit_sum(builder: Builder, node: Node, last: Node) -> bool:
    """A sum with the quantizer of `last`: its own, or the activation function's behind it."""
    operands, quantizer, axis = _operands(builder, node, last), builder.quantizer(last.name), layouts.batch_axis(last)
    if operands is None or quantizer is None or axis is None:
        return False
    a, b = operands
    if quantizer.exponents is None and a.layout.fills:
        b = builder.beside(b, a.layout)
    elif quantizer.exponents is None and b.layout.fills:
        a = builder.beside(a, b.layout)
    if quantizer.exponents is None and a.layout.fills and a.layout.same_as(b.layout):
        # Number by number, wherever they lie.
        layout = layouts.dense(a.layout.image, axis)
        width = next(d for d in range(min(layout.size, 1024), 0, -1) if layout.size % d == 0)
        first = second = layouts.Strides(0, (width, 1), (layout.size // width, width))
    elif quantizer.exponents is None or builder.last_axis(last):
        (a, first), (b, second) = builder.rows(a), builder.rows(b)
        layout, width = layouts.in_order(last, axis), first.sizes[1]
    elif axis == 0 and builder.image_channels(last):
        (a, first), (b, second) = (builder.rows(x, x.layout.image.permute(1, 2, 0)) for x in (a, b))
        layout, width = layouts.channels_last(*image_shape(last, axis)), first.sizes[1]
    else:
        return False
    out = builder.new_place(layout, last.name)
    builder.places[last.name] = out
    emit_rows(builder, last.name, a, first, b, second, out, 0, width, width)
    return True


def cover_unary(builder: Builder, node: Node) -> bool:
    """An activation function behind a layer, a product of activations, a sum, or codes."""
    pending = builder.pending.pop(node.inputs[0], None)
    if pending is None:
        return builder.uniform(node) and _emit_table(builder, (node,))
    source = builder.graph[node.inputs[0]]
    if pending.layer is None:
        covered = emit_sum(builder, source, node)
        assert covered, "what `cover_sum` puts off can be emitted"
    elif pending.layer.op == "matmul":
        emit_product(builder, pending.layer, node)
    elif pending.layer.op == "affine":
        return _emit_table(builder, (pending.layer, node))
    else:
        emit_layer(builder, pending.layer, node, pending.other)
    return True


def cover_affine(builder: Builder, node: Node) -> bool:
    """Factors by channel of codes, by themselves or with the activation function behind them."""
    x, reader = builder.place(node.inputs[0]), builder.sole_reader(node)
    if x is None or not x.coded or layouts.batch_axis(node) is None:
        return False
    if builder.quantizer(node.name) is not None:
        return builder.uniform(node) and _emit_table(builder, (node,))
    if reader is None or reader.op != "unary" or not builder.uniform(reader):
        return False
    builder.pending[node.name] = Pending((node,), node)
    return True


def cover_scale(builder: Builder, node: Node) -> bool:
    """A product with a number: the same codes, or those of the negative, mean something else."""
    place, factor = builder.place(node.inputs[0]), node.attrs["factor"]
    if place is None or factor == 0 or builder.graph.source(node.name).op == "constant":
        return False
    if factor < 0:
        return _emit_table(builder, (node,))
    builder.places[node.name] = Place(place.buffer, place.layout, node.name, place.bytes)
    return True


def _emit_table(builder: Builder, nodes: tuple[Node, ...]) -> bool:
    """What the last node makes of codes that the first reads, looked up."""
    last, x, axis = nodes[-1], builder.place(nodes[0].inputs[0]), layouts.batch_axis(nodes[-1])
    if x is None or not x.coded or axis is None:
        return False
    image, channels = x.layout.image, channel_axis(nodes)
    if channels is not None:
        channels -= channels > axis
        moved = image.movedim(channels, -1)
        x, strides = builder.rows(x, moved)
        positions = torch.arange(image.numel()).reshape(moved.shape).movedim(-1, channels)
    elif x.layout.fills:  # number by number, wherever they lie
        positions, strides = image, layouts.Strides(0, (image.numel(), 1), (1, image.numel()))
    else:
        x, strides = builder.rows(x)
        positions = torch.arange(image.numel()).reshape(image.shape)
    out = builder.new_place(layouts.dense(positions, axis), last.name)
    builder.places[last.name] = out
    geometry, source = (*strides.sizes, strides.offset, strides.steps[0], strides.sizes[1]), x.source
    builder.step(
        TABLE, (x.buffer,), out.buffer, geometry, f"table {last.name}", (f"{source}.output", f"{last.name}.output"),
        lambda native: native.table_parameters(nodes, source),
    )  # fmt: skip
    return True
