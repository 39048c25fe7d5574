"""Sums, products, activation functions and factors in plans: behind a layer that was put off, or by themselves."""

from __future__ import annotations

from dataclasses import replace

import torch

from landscape.engine.clamps import is_clamp
from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.cover_attention import emit_product
from landscape.engine.native.cover_layers import emit_layer
from landscape.engine.native.cover_rows import emit_rows, emit_table
from landscape.engine.native.plan import PAIRS, Place
from landscape.engine.tables import channel_axis
from landscape.graph import Node


def cover_sum(builder: Builder, node: Node) -> bool:
    """A sum: behind a layer that was put off, or by itself; put off where an activation function reads it."""
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
    return _put_off(builder, node)


def _put_off(builder: Builder, node: Node) -> bool:
    """A sum or product without a quantizer that an activation function reads."""
    reader, operands = builder.sole_reader(node), _operands(builder, node, node)
    if reader is None or operands is None or reader.op != "unary" or not builder.uniform(reader):
        return False
    clamped_sum = node.op == "add" and is_clamp(reader)
    if clamped_sum or all(operand.coded for operand in operands):
        builder.pending[node.name] = Pending((node,))
    return node.name in builder.pending


def cover_product(builder: Builder, node: Node) -> bool:
    """A product, element by element: looked up. That of images with a number per channel has a kernel of its own."""
    shapes = [builder.graph[name].shape for name in node.inputs]
    if any(len(shape) == 4 and shape[2:] == (1, 1) != node.shape[2:] for shape in shapes):
        return False
    if builder.quantizer(node.name) is None:
        return _put_off(builder, node)
    return builder.uniform(node) and _emit_pairs(builder, (node,))


def _operands(builder: Builder, node: Node, last: Node) -> tuple[Place, Place] | None:
    axis = layouts.batch_axis(last)
    if axis is None:
        return None
    operands = []
    for name in node.inputs:
        source = builder.graph.source(name)
        constant = source.op == "constant"
        found = builder.constant(name, source.name, last, axis) if constant else builder.place(name)
        if found is None or not found.summable:
            return None
        broadcast = found.layout.broadcast(image_shape(last, axis), axis)
        if broadcast is None:
            return None
        operands.append(replace(found, layout=broadcast))
    return operands[0], operands[1]


def _side_by_side(
    builder: Builder, a: Place, b: Place, last: Node, axis: int
) -> tuple[Place, layouts.Strides, Place, layouts.Strides, layouts.Layout]:
    """Two values whose numbers belong together one by one, as rows, and where the results are to lie."""
    if a.layout.fills:
        b = builder.beside(b, a.layout)
    elif b.layout.fills:
        a = builder.beside(a, b.layout)
    if a.layout.fills and a.layout.same_as(b.layout):  # number by number, wherever they lie
        layout = layouts.dense(a.layout.image, axis)
        width = next(d for d in range(min(layout.size, 1024), 0, -1) if layout.size % d == 0)
        strides = layouts.Strides(0, (width, 1), (layout.size // width, width))
        return a, strides, b, strides, layout
    (a, first), (b, second) = builder.rows(a), builder.rows(b)
    return a, first, b, second, layouts.in_order(last, axis)


def emit_sum(builder: Builder, node: Node, last: Node) -> bool:
    """A sum with the quantizer of `last`: its own, or the activation function's behind it."""
    operands, quantizer, axis = _operands(builder, node, last), builder.quantizer(last.name), layouts.batch_axis(last)
    if operands is None or quantizer is None or axis is None:
        return False
    a, b = operands
    if quantizer.exponents is None:
        a, first, b, second, layout = _side_by_side(builder, a, b, last, axis)
    elif builder.last_axis(last):
        (a, first), (b, second) = builder.rows(a), builder.rows(b)
        layout = layouts.in_order(last, axis)
    elif axis == 0 and builder.image_channels(last):
        (a, first), (b, second) = (builder.rows(x, x.layout.image.permute(1, 2, 0)) for x in (a, b))
        layout = layouts.channels_last(*image_shape(last, axis))
    else:
        return False
    out, width = builder.new_place(layout, last.name), first.sizes[1]
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
        clamped_sum = source.op == "add" and is_clamp(node)
        covered = emit_sum(builder, source, node) if clamped_sum else _emit_pairs(builder, (source, node))
        assert covered, "what is put off can be emitted"
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
    if place is None or factor == 0:
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
    rows, width = strides.sizes
    emit_table(builder, nodes, x, strides, out, layouts.Strides(0, (width, 1), (rows, width)))
    return True


def _emit_pairs(builder: Builder, nodes: tuple[Node, ...]) -> bool:
    """What the last node makes of the two codes that the first reads, looked up."""
    last, axis = nodes[-1], layouts.batch_axis(nodes[-1])
    operands = _operands(builder, nodes[0], last)
    if operands is None or axis is None or not all(operand.coded for operand in operands):
        return False
    a, first, b, second, layout = _side_by_side(builder, *operands, last, axis)
    out = builder.new_place(layout, last.name)
    builder.places[last.name] = out
    geometry = (*first.sizes, first.offset, first.steps[0], second.offset, second.steps[0], first.sizes[1])
    sources = (a.source, b.source)
    builder.step(
        PAIRS, (a.buffer, b.buffer), out.buffer, geometry, f"pairs {last.name}",
        tuple(f"{name}.output" for name in (*sources, last.name)),
        lambda native: native.pair_parameters(nodes, sources),
    )  # fmt: skip
    return True
