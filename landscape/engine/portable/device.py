"""A quantized network on another device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from landscape.graph import Graph, Node
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork, WeightQuantizer

_Quantizer = TypeVar("_Quantizer", WeightQuantizer, ActivationQuantizer)


def with_tensors(graph: Graph, function: Callable[[Tensor], Tensor]) -> Graph:
    """A graph whose tensors (weights, biases, constants, masks, indices) are replaced by their image."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(changed(part) for part in value)
        return value

    def node_of(node: Node) -> Node:
        return replace(node, attrs=changed(node.attrs), weight=changed(node.weight), bias=changed(node.bias))

    return Graph({name: node_of(node) for name, node in graph.nodes.items()}, graph.output, graph.input_shape)


def on_device(
    network: QuantizedNetwork,
    device: str | torch.device,
    known: tuple[QuantizedNetwork, QuantizedNetwork] | None = None,
) -> QuantizedNetwork:
    """A network whose tensors are on a device.

    Args:
        network: On the CPU.
        device: Where to.
        known: Another network and the same on the device. What it has in common with `network` is not moved again, and
            stays the same object, so that engines see that it is the same.
    """
    old, moved = known if known is not None else (network, None)
    if moved is None or old.graph is not network.graph:
        graph = with_tensors(network.graph, lambda tensor: tensor.to(device))
    else:
        graph = moved.graph
    return replace(
        network,
        graph=graph,
        weights=_moved(network.weights, device, old.weights, moved.weights if moved else {}),
        activations=_moved(network.activations, device, old.activations, moved.activations if moved else {}),
        biases={name: bias.to(device) for name, bias in network.biases.items()},
    )


def _moved(
    quantizers: Mapping[str, _Quantizer],
    device: str | torch.device,
    old: Mapping[str, _Quantizer],
    moved: Mapping[str, _Quantizer],
) -> dict[str, _Quantizer]:
    result = {}
    for name, quantizer in quantizers.items():
        if name in moved and old[name] is quantizer:
            result[name] = moved[name]
        else:
            tensors: dict[str, Any] = {k: v.to(device) for k, v in vars(quantizer).items() if isinstance(v, Tensor)}
            result[name] = replace(quantizer, **tensors)
    return result
