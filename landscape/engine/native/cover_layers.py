"""Layers in plans: linear ones and convolutions, each with what follows it."""

from __future__ import annotations

from dataclasses import replace

from landscape.engine.clamps import is_clamp
from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.cover_windows import convolution_geometry
from landscape.engine.native.plan import CONVOLUTION, LARGEST_DEPTH, LAYER, Place
from landscape.graph import Node


def cover_layer(builder: Builder, node: Node) -> bool:
    """A layer by itself, or put off until its activation function or residual sum comes."""
    if node.name not in builder.network.weights or node.weight is None or layouts.batch_axis(node) is None:
        return False
    x = builder.place(node.inputs[0])
    if x is None or node.weight[0].numel() > LARGEST_DEPTH or not (x.coded or (x.bytes == 4 and node.op == "conv2d")):
        return False
    reader = builder.sole_reader(node)
    if builder.quantizer(node.name) is None:
        if reader is None or reader.op != "unary" or not builder.uniform(reader):
            emit_layer(builder, node, node, None)
        else:
            builder.pending[node.name] = Pending((node,), node)
        return True
    if reader is not None and _is_residual(builder, node, reader):
        builder.pending[node.name] = Pending((node,), node)
        return True
    if not builder.uniform(node):
        along = builder.last_axis(node) if node.op == "linear" else builder.image_channels(node)
        if not along:
            return False
    emit_layer(builder, node, node, None)
    return True


def _is_residual(builder: Builder, node: Node, reader: Node) -> bool:
    """Whether a layer's only reader adds it to another value that is there already."""
    if reader.op != "add" or not builder.uniform(node) or set(reader.inputs) == {node.name}:
        return False
    other = next(name for name in reader.inputs if name != node.name)
    if builder.graph[other].shape != node.shape or not _comes_in_time(builder, other):
        return False
    if builder.quantizer(reader.name) is None:
        return clamped_reader(builder, reader) is not None
    return builder.uniform(reader) or (node.op == "linear" and builder.last_axis(reader))


def _comes_in_time(builder: Builder, name: str) -> bool:
    """Whether a value is there, or is a view to come of one that is there."""
    while name in builder.names and name not in builder.places and builder.graph[name].op == "view":
        name = builder.graph[name].inputs[0]
    place = builder.place(name)
    return place is not None and place.summable


def clamped_reader(builder: Builder, node: Node) -> Node | None:
    """The activation function that is a sum's only reader, where it does no more than clamp."""
    reader = builder.sole_reader(node)
    clamps = reader is not None and reader.op == "unary" and builder.uniform(reader) and is_clamp(reader)
    return reader if clamps else None


def emit_layer(builder: Builder, node: Node, last: Node, other: Place | None) -> None:
    """A layer whose result is the value of `last`.

    Args:
        builder: The plan.
        node: The layer.
        last: The node whose quantizer gives the result: the layer, a sum, or an activation function.
        other: What is added to the layer's codes.
    """
    axis, x = layouts.batch_axis(last), builder.place(node.inputs[0])
    assert x is not None and axis is not None and node.weight is not None
    added = None if other is None else other.source
    quantized = [name for name in (node.name, last.name, added) if name is not None and builder.quantizer(name)]
    depends = (f"{node.name}.weight", f"{x.source}.output", *(f"{name}.output" for name in quantized))
    if node.op == "conv2d":
        _emit_convolution(builder, node, last, other, depends)
        return
    x, strides = builder.rows(x)
    out = builder.new_place(layouts.in_order(last, axis), last.name)
    source, outputs = x.source, node.weight.shape[0]
    geometry = [strides.sizes[0], strides.offset, strides.steps[0], 0, 0, 0, out.bytes * outputs]
    inputs = (x.buffer, -1)
    if other is not None:
        summand, other_strides = builder.rows(other)
        inputs = (x.buffer, summand.buffer)
        geometry[3:5] = [other_strides.offset * summand.bytes, other_strides.steps[0] * summand.bytes]
    builder.places[last.name] = out
    builder.step(
        LAYER, inputs, out.buffer, geometry, f"layer {node.name} to {last.name} with {added}", depends,
        lambda native: native.layer_parameters(node, last, source, added, None),
    )  # fmt: skip


def _emit_convolution(
    builder: Builder, node: Node, last: Node, other: Place | None, depends: tuple[str, ...]
) -> None:  # fmt: skip
    found = builder.place(node.inputs[0])
    assert found is not None and node.weight is not None
    x, geometry = convolution_geometry(builder, node, found)
    layout = layouts.channels_last(*image_shape(last, 0))
    inputs = (x.buffer, -1)
    if other is not None:
        inputs = (x.buffer, builder.beside(other, layout).buffer)
    out = builder.new_place(layout, last.name)
    builder.places[last.name] = out
    source, added, wide = x.source, None if other is None else other.source, x.bytes == 4
    full = replace(geometry, wide=wide)
    builder.step(
        CONVOLUTION, inputs, out.buffer, (geometry.offset * x.bytes,),
        f"convolution {node.name} to {last.name} with {added} {full}", depends,
        lambda native: native.layer_parameters(node, last, source, added, full),
    )  # fmt: skip
