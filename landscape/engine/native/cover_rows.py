"""LayerNorms and concatenations in plans: what goes row by row."""

from __future__ import annotations

import torch

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder
from landscape.engine.native.plan import NORM, SUM, Place
from landscape.graph import Node

LARGEST_NORM = 46_500
"""Channels for which a LayerNorm's sums of int16 codes are exact, see `landscape.quant.layer_norm`."""


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
    if node.weight.numel() > LARGEST_NORM or axis is None:
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
        part = builder.constant(name, node.name, node, axis) if constant else builder.place(name)
        if part is None or not part.summable:
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
        emit_rows(builder, node.name, part, strides, None, None, out, target.offset, target.steps[0], strides.sizes[1])
    builder.places[node.name] = out
    return True
