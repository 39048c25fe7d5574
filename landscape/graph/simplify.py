"""Folding of batch norms and factors, order, removal of what nothing reads, and readable names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.graph.ir import WEIGHTED, Graph, Node


def simplify(graph: Graph, module: nn.Module) -> Graph:
    """Fold what is linear into the layers beside it, drop what nothing reads, name what is left.

    Batch norm (and a learned factor per channel) goes into the convolution or linear layer before it, or else into the
    linear layer behind it; a factor into the product of activations beside it. What can go nowhere stays as an `affine`
    or `scale` node. Exact up to float64 rounding. An activation function that reads a layer or a product of activations
    through views comes before them, so that engines find the two side by side.
    """
    for node in list(graph):
        if node.op == "scale":
            _fold_factor(graph, node)
        elif node.op == "affine" and not _fold_backward(graph, node):
            _fold_forward(graph, node)
    for node in list(graph):
        if node.op == "unary":
            graph = _before_views(graph, node)
    return _renamed(_without_unread(graph), module)


def _remove(graph: Graph, node: Node) -> None:
    for reader in graph:
        reader.inputs = tuple(node.inputs[0] if name == node.name else name for name in reader.inputs)
    if graph.output == node.name:
        graph.output = node.inputs[0]
    del graph.nodes[node.name]


def _fold_factor(graph: Graph, node: Node) -> None:
    readers = graph.consumers()
    product = graph[node.inputs[0]]
    if product.op != "matmul" or readers[product.name] != [node.name]:
        product = node
        while len(readers[product.name]) == 1 and product.op in ("scale", "view"):
            product = graph[readers[product.name][0]]
    if product.op == "matmul":
        product.attrs["scale"] *= node.attrs["factor"]
        _remove(graph, node)


def _before_views(graph: Graph, node: Node) -> Graph:
    """The graph with an activation function moved in front of the views between a layer or product and it.

    They must hold every number of the layer, and have no other reader.
    """
    readers, views = graph.consumers(), list[Node]()
    layer = graph[node.inputs[0]]
    while layer.op == "view" and len(readers[layer.name]) == 1:
        before = graph[layer.inputs[0]]
        if layer.attrs["call"] is not torch.reshape and sorted(layer.shape) != sorted(before.shape):
            return graph
        views.append(layer)
        layer = before
    if not views or layer.op not in (*WEIGHTED, "matmul") or len(readers[layer.name]) != 1:
        return graph
    for reader in graph:
        reader.inputs = tuple(views[0].name if name == node.name else name for name in reader.inputs)
    views[-1].inputs, node.inputs, node.shape = (node.name,), (layer.name,), layer.shape
    order = [n for n in graph if n is not node]
    order.insert(order.index(layer) + 1, node)
    output = views[0].name if graph.output == node.name else graph.output
    return Graph({n.name: n for n in order}, output, graph.input_shape)


def _channels_last(node: Node) -> bool:
    return bool(node.attrs["axis"] == -1 or len(node.shape) == 2)


def _fold_backward(graph: Graph, node: Node) -> bool:
    """Into the weighted layer before it, if nothing else reads that layer and its channels are still in their place."""
    readers = graph.consumers()
    producer = graph[node.inputs[0]]
    if readers[producer.name] != [node.name]:
        return False
    if producer.op == "view" and _channels_last(node) and producer.shape[-1] == graph[producer.inputs[0]].shape[-1]:
        producer = graph[producer.inputs[0]]  # tokens of all images in one long list, as LeViT's linear + batch norm
        if producer.op != "linear" or len(readers[producer.name]) != 1:
            return False
    fits = (producer.op == "conv2d" and node.attrs["axis"] == 1) or (producer.op == "linear" and _channels_last(node))
    if not fits:
        return False
    gain, weight = _weight(node), _weight(producer)
    producer.weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    bias = gain * producer.bias if producer.bias is not None else None
    if node.bias is not None:
        bias = node.bias if bias is None else bias + node.bias
    producer.bias = bias
    _remove(graph, node)
    return True


def _fold_forward(graph: Graph, node: Node) -> bool:
    """Into the linear layer behind it, if that alone reads it."""
    readers = graph.consumers()[node.name]
    if len(readers) != 1 or graph[readers[0]].op != "linear" or not _channels_last(node):
        return False
    layer = graph[readers[0]]
    weight = _weight(layer)
    if node.bias is not None:
        shift = weight @ node.bias
        layer.bias = shift if layer.bias is None else layer.bias + shift
    layer.weight = weight * _weight(node)
    _remove(graph, node)
    return True


def _weight(node: Node) -> Tensor:
    assert node.weight is not None
    return node.weight


def _without_unread(graph: Graph) -> Graph:
    needed = {graph.output}
    for node in reversed(list(graph)):
        if node.name in needed:
            needed.update(node.inputs)
    return Graph({n.name: n for n in graph if n.name in needed}, graph.output, graph.input_shape)


def _renamed(graph: Graph, module: nn.Module) -> Graph:
    """Names from module paths; a second node of the same name gets the suffix ``_2``, a third ``_3``.

    A module without parts that does one thing gives its own path; otherwise what is done is named behind it.
    """
    leaves = {path for path, child in module.named_modules() if not any(child.children())}
    kinds: dict[str, set[str]] = {}
    for node in graph:
        if node.op not in ("view", "expand"):
            kinds.setdefault(node.module, set()).add(node.op)
    labels = _labels(graph)
    names: dict[str, str] = {}
    taken = set[str]()
    for node in graph:
        if node.op in ("input", "constant"):
            name = str(node.attrs.get("origin", "input"))
        elif node.module in leaves and kinds.get(node.module) == {node.op}:
            name = node.module
        else:
            name = f"{node.module}.{labels[node.name]}".lstrip(".")
        names[node.name] = _unused(name, taken)
    for node in graph:
        node.inputs = tuple(names[name] for name in node.inputs)
        node.name = names[node.name]
    return Graph({node.name: node for node in graph}, names[graph.output], graph.input_shape)


def _unused(name: str, taken: set[str]) -> str:
    choice, number = name, 1
    while choice in taken:
        number += 1
        choice = f"{name}_{number}"
    taken.add(choice)
    return choice


def _labels(graph: Graph) -> dict[str, str]:
    """What a node is called within its module, when it is not a module by itself."""
    labels = {}
    for node in graph:
        labels[node.name] = node.op
        constants = [graph[i] for i in node.inputs if graph[i].op == "constant"]
        if node.op == "unary":
            labels[node.name] = str(node.attrs["function"])
        elif node.op == "add" and constants:
            labels[node.name] = "add_" + str(constants[0].attrs["origin"]).split(".")[-1]
        elif node.op == "add":
            labels[node.name] = "residual"
        elif node.op == "view":
            labels[node.name] = getattr(node.attrs["call"], "_opname", None) or node.attrs["call"].__name__
    for node in graph:
        if node.op == "softmax":
            logits = graph.logits_of(node)
            labels[logits.name] = "logits"
            for reader in graph:
                if reader.op == "matmul" and graph.source(reader.inputs[0]).name == node.name:
                    labels[reader.name] = "output"
    return labels
