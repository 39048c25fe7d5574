"""LayerNorms and concatenations in plans: what goes row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, image_shape
from landscape.engine.native.plan import NORM, SUM, TABLE, Place
from landscape.graph import Node

_SHORT = 16
"""Numbers of a row below which what is done for each row takes longer than the row."""

LARGEST_NORM = 46_500
"""Channels for which a LayerNorm's sums of int16 codes are exact, see `landscape.quant.layer_norm`."""

LARGEST_NORM_OF_CODES = 372_000
"""The same of codes, without factors; a float LayerNorm's, or an RMS norm's."""


def cover_norm(builder: Builder, node: Node) -> bool:
    """A LayerNorm or RMS norm with a quantizer: float, or integer with one scale."""
    x, axis = builder.place(node.inputs[0]), layouts.batch_axis(node)
    assert node.weight is not None
    if x is None or not x.summable or builder.quantizer(node.name) is None:
        return False
    is_float = node.op == "rms_norm" or builder.network.scheme.layer_norm == "float"
    float_with_factors = is_float and builder.last_axis(node)
    if not (builder.uniform(node) or float_with_factors):
        return False
    if node.weight.numel() > (LARGEST_NORM_OF_CODES if x.coded and is_float else LARGEST_NORM) or axis is None:
        return False
    x, strides = builder.rows(x)
    out = builder.new_place(layouts.in_order(node, axis), node.name)
    geometry = (strides.sizes[0], strides.offset * x.bytes, strides.steps[0] * x.bytes, 0, strides.sizes[1] * out.bytes)
    source = x.source
    builder.places[node.name] = out
    builder.step(
        NORM, (x.buffer,), out.buffer, geometry, f"norm {node.name}", (f"{source}.output", f"{node.name}.output"),
        lambda native: native.norm_parameters(node, source),
    )  # fmt: skip
    return True


def emit_rows(
    builder: Builder, name: str, a: Place, first: layouts.Strides, b: Place | None, second: layouts.Strides | None,
    out: Place, offset: int, stride: int, width: int,
) -> None:  # fmt: skip
    """Rows of quantize(a + b), or of quantize(a)."""
    geometry = [first.sizes[0], width, first.offset * a.bytes, first.steps[0] * a.bytes]
    geometry += [0, 0, offset * out.bytes, stride * out.bytes]
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
    axis, uniform = layouts.batch_axis(node), builder.uniform(node)
    dim = node.attrs["dim"] % len(node.shape)
    if axis is None or dim == axis or builder.quantizer(node.name) is None:
        return False
    if not uniform and (dim == len(node.shape) - 1 or not builder.last_axis(node)):  # factors by channel, rows whole
        return False
    parts: list[Place] = []
    for name in node.inputs:
        constant = builder.graph.source(name).op == "constant"
        part = builder.constant(name, node.name, node, axis) if constant else builder.place(name)
        if part is None or not part.summable:
            return False
        parts.append(part)
    dim -= dim > axis
    lengths = [part.layout.image.shape[dim] for part in parts]
    shape = image_shape(node, axis)
    order = _order_of_parts(parts, dim, max(lengths)) if uniform else list(range(len(shape)))
    back = [order.index(a) for a in range(len(shape))]
    positions = torch.arange(shape.numel()).reshape([shape[a] for a in order]).permute(back)
    targets = [layouts.rows(target.permute(order)) for target in torch.split(positions, lengths, dim)]
    if any(target is None for target in targets):
        return False
    out = builder.new_place(layouts.dense(positions, axis), node.name)
    for part, target in zip(parts, targets, strict=True):
        assert target is not None
        part, strides = builder.rows(part, part.layout.image.permute(order))
        if part.coded and uniform:
            emit_table(builder, (node,), part, strides, out, target)
        else:
            width = strides.sizes[1]
            emit_rows(builder, node.name, part, strides, None, None, out, target.offset, target.steps[0], width)
    builder.places[node.name] = out
    return True


def _order_of_parts(parts: Sequence[Place], dim: int, longest: int) -> list[int]:
    """In which order the axes of joined parts lie best: pixels with their channels side by side, and no short rows."""
    axes = list(range(parts[0].layout.image.ndim))
    strides = [part.layout.strides for part in parts]
    if len(axes) == 3 and all(found is not None and found.steps[0] == 1 for found in strides):
        return [1, 2, 0]
    if dim == axes[-1] and longest < _SHORT:
        return [dim, *axes[:-1]]
    return axes


def emit_table(
    builder: Builder, nodes: tuple[Node, ...], x: Place, strides: layouts.Strides, out: Place, target: layouts.Strides
) -> None:
    """Rows of what the last node makes of codes that the first reads, looked up."""
    last, source = nodes[-1], x.source
    geometry = (*strides.sizes, strides.offset, strides.steps[0], target.offset, target.steps[0])
    builder.step(
        TABLE, (x.buffer,), out.buffer, geometry, f"table {last.name} of {source}",
        (f"{source}.output", f"{last.name}.output"), lambda native: native.table_parameters(nodes, source),
    )  # fmt: skip
