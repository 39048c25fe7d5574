"""LayerNorms, sums and concatenations in plans: what goes row by row."""

from __future__ import annotations

import torch

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, Pending, image_shape
from landscape.engine.native.plan import NORM, SUM, Place
from landscape.graph import Node

LARGEST_NORM = 46_500
"""Channels for which a LayerNorm's sums of int16 codes are exact, see `landscape.quant.layer_norm`."""


def cover_norm(builder: Builder, node: Node) -> bool:
    """A float LayerNorm with a uniform quantizer."""
    x, axis = builder.place(node.inputs[0]), layouts.batch_axis(node)
    assert node.weight is not None
    if x is None or x.bytes == 4 or builder.network.scheme.layer_norm != "float" or not builder.uniform(node):
        return False
    if node.weight.numel() > LARGEST_NORM or axis is None:
        return False
    x, strides = builder.rows(x)
    out = builder.new_place(layouts.in_order(node, axis), node.name)
    geometry = (strides.sizes[0], strides.offset * x.bytes, strides.steps[0] * x.bytes, 0, strides.sizes[1])
    source = x.source
    builder.places[node.name] = out
    builder.step(
        NORM, (x.buffer,), out.buffer, geometry, f"norm {node.name}", (f"{source}.output", f"{node.name}.output"),
        lambda native: native.norm_parameters(node, source),
    )  # fmt: skip
    return True


def cover_sum(builder: Builder, node: Node) -> bool:
    """A sum: behind a layer that was put off, or by itself; put off where an activation function clamps it."""
    from landscape.engine.native.cover_layers import clamped_reader, emit_layer

    waiting = [name for name in node.inputs if name in builder.pending]
    if waiting:
        other = builder.place(next(name for name in node.inputs if name != waiting[0]))
        pending = builder.pending.pop(waiting[0])
        assert other is not None and pending.layer is not None
        if builder.quantizer(node.name) is None:
            builder.pending[node.name] = Pending((*pending.nodes, node), pending.layer, other)
        else:
            emit_layer(builder, pending.layer, node, other, node)
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
        found = builder.constant(name, source.name, axis) if constant else builder.place(name)
        if found is None or found.bytes == 4 or found.layout.image.shape != image_shape(last, axis):
            return None
        operands.append(found)
    return operands[0], operands[1]


def emit_sum(builder: Builder, node: Node, last: Node) -> bool:
    """A sum with the quantizer of `last`: its own, or the activation function's behind it."""
    operands, quantizer, axis = _operands(builder, node, last), builder.quantizer(last.name), layouts.batch_axis(last)
    if operands is None or quantizer is None or axis is None:
        return False
    a, b = operands
    if quantizer.exponents is None and a.layout.same_as(b.layout) and a.layout.image.numel() == a.layout.size:
        # Number by number, wherever they lie.
        layout = layouts.dense(a.layout.image, axis)
        width = next(d for d in range(min(layout.size, 1024), 0, -1) if layout.size % d == 0)
        first = second = layouts.Strides(0, (width, 1), (layout.size // width, width))
    elif quantizer.exponents is None or builder.last_axis(last):
        (a, first), (b, second) = builder.rows(a), builder.rows(b)
        layout, width = layouts.in_order(last, axis), first.sizes[1]
    else:
        return False
    out = builder.new_place(layout, last.name)
    builder.places[last.name] = out
    _emit_rows(builder, last.name, a, first, b, second, out, 0, width, width)
    return True


def _emit_rows(
    builder: Builder, name: str, a: Place, first: layouts.Strides, b: Place | None, second: layouts.Strides | None,
    out: Place, offset: int, stride: int, width: int,
) -> None:  # fmt: skip
    """Rows of quantize(a + b), or of quantize(a)."""
    geometry = [first.sizes[0], width, first.offset * a.bytes, first.steps[0] * a.bytes]
    geometry += [0, 0, offset, stride * out.bytes]
    if b is not None and second is not None:
        geometry[4:6] = [second.offset * b.bytes, second.steps[0] * b.bytes]
    a_source, b_source = a.source, None if b is None else b.source
    depends = tuple(f"{n}.output" for n in (a_source, b_source, name) if n is not None)
    builder.step(
        SUM, (a.buffer, -1 if b is None else b.buffer), out.buffer, geometry,
        f"sum {name} of {a_source}, {b_source}, {width}", depends,
        lambda native: native.sum_parameters(a_source, b_source, name, width),
    )  # fmt: skip


def cover_cat(builder: Builder, node: Node) -> bool:
    """Parts are quantized, then joined, which is the same as the other way around."""
    axis = layouts.batch_axis(node)
    if axis is None or not builder.uniform(node) or node.attrs["dim"] % len(node.shape) == axis:
        return False
    parts = []
    for name in node.inputs:
        constant = builder.graph.source(name).op == "constant"
        part = builder.constant(name, node.name, axis) if constant else builder.place(name)
        if part is None or part.bytes == 4:
            return False
        parts.append(part)
    dim = node.attrs["dim"] % len(node.shape)
    dim -= dim > axis
    layout = layouts.in_order(node, axis)
    targets = torch.split(layout.image, [part.layout.image.shape[dim] for part in parts], dim)
    rows = [layouts.rows(target) for target in targets]
    if any(target is None for target in rows):
        return False
    out = builder.new_place(layout, node.name)
    for part, target in zip(parts, rows, strict=True):
        assert target is not None
        part, strides = builder.rows(part)
        _emit_rows(builder, node.name, part, strides, None, None, out, target.offset, target.steps[0], strides.sizes[1])
    builder.places[node.name] = out
    return True
