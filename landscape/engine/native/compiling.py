"""Compiles nodes of a graph into plans.

Patterns of nodes become one step: a layer with the quantizer, the activation function, the residual sum behind it; the
two products and the softmax of attention. Views cost nothing where strides can say what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from landscape.engine.native.builder import Builder, Segment
from landscape.engine.native.cover_attention import cover_matmul, cover_softmax
from landscape.engine.native.cover_layers import cover_layer
from landscape.engine.native.cover_rows import cover_cat, cover_norm
from landscape.engine.native.cover_sums import cover_affine, cover_product, cover_scale, cover_sum, cover_unary
from landscape.engine.native.cover_windows import cover_pool, cover_resample
from landscape.engine.native.plan import Place
from landscape.graph import Node
from landscape.quant.network import QuantizedNetwork


def compile_plans(network: QuantizedNetwork, nodes: Sequence[Node], keep: Collection[str]) -> list[Segment]:
    """Nodes as plans, and in between as single nodes where no step covers them.

    Args:
        network: Says where quantizers stand; its scales do not matter.
        nodes: In order.
        keep: Names of the values that are wanted afterwards.
    """
    segments: list[Segment] = []
    builder = Builder(network, nodes, keep)
    for index, node in enumerate(nodes):
        if node.op == "input":
            continue
        if _cover(builder, node):
            builder.plan.nodes.append(node)
            continue
        builder.finish(segments, nodes[index:])
        segments.append(node)
        builder = Builder(network, nodes[index + 1 :], keep)
    builder.finish(segments, [])
    return segments


def _cover(builder: Builder, node: Node) -> bool:
    """Take a node into the plan, or put it off until a later node covers it too; False where no step covers it."""
    cover = _COVERS.get(node.op)
    return cover is not None and cover(builder, node)


def _cover_constant(builder: Builder, node: Node) -> bool:
    return node.name not in builder.keep


def _cover_view(builder: Builder, node: Node) -> bool:
    if builder.graph.source(node.name).op == "constant":
        return node.name not in builder.keep
    place = builder.place(node.inputs[0])
    layout = None if place is None else place.layout.moved(node)
    if place is None or layout is None:
        return False
    builder.places[node.name] = Place(place.buffer, layout, place.source, place.bytes)
    return True


_COVERS: dict[str, Callable[[Builder, Node], bool]] = {
    "constant": _cover_constant,
    "expand": _cover_constant,
    "view": _cover_view,
    "linear": cover_layer,
    "conv2d": cover_layer,
    "unary": cover_unary,
    "affine": cover_affine,
    "scale": cover_scale,
    "layer_norm": cover_norm,
    "rms_norm": cover_norm,
    "add": cover_sum,
    "mul": cover_product,
    "cat": cover_cat,
    "matmul": cover_matmul,
    "softmax": cover_softmax,
    "mean": cover_pool,
    "avg_pool2d": cover_pool,
    "max_pool2d": cover_pool,
    "resample": cover_resample,
}
