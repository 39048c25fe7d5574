"""Several candidates in one batch: for devices on which a single small batch leaves most of the machine idle.

Candidates differ in the weights of a few layers. Those layers, and the activation function right behind one, run once
for every candidate; all else runs once on the values of all candidates, one after the other along the axis of the
images. No value depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.engine.reference import Reference
from landscape.engine.values import Codes, Value
from landscape.graph import Node
from landscape.quant.network import QuantizedNetwork


def can_run_together(networks: Sequence[QuantizedNetwork], centre: QuantizedNetwork) -> bool:
    """Whether candidates differ from the centre in weights only, so that their codes mean the same everywhere."""
    return all(
        network.activations.keys() == centre.activations.keys()
        and all(network.activations[name] is quantizer for name, quantizer in centre.activations.items())
        for network in networks
    )


class Together:
    """Evaluates nodes on the values of several candidates; stands in for one arithmetic.

    Args:
        centre: Arithmetic of what all have in common.
        arithmetics: One a candidate.
        centre_network: The network that the candidates are compared with.
        networks: The candidates.
    """

    def __init__(
        self,
        centre: Reference,
        arithmetics: Sequence[Reference],
        centre_network: QuantizedNetwork,
        networks: Sequence[QuantizedNetwork],
    ) -> None:
        self._centre, self._arithmetics = centre, arithmetics
        graph = centre_network.graph
        moved = {
            name
            for network in networks
            for name, quantizer in network.weights.items()
            if quantizer is not centre_network.weights[name]
        }
        # A layer may leave its work to the activation function that reads it: then that one is each candidate's too.
        self._separate = moved | {n.name for n in graph if n.op == "unary" and n.inputs[0] in moved}
        self._axes = {node.name: node.shape.index(-1) if -1 in node.shape else None for node in graph}

    def stacked(self, name: str, value: Value) -> Value:
        """The value of a node before the candidates part, once for each."""
        axis = self._axes[name]
        return value if axis is None else _over(value, torch.cat([_held(value)] * len(self._arithmetics), axis))

    def evaluate(self, node: Node, values: Sequence[Value | list[Value]], images: int) -> Value | list[Value]:
        """The value of a node on all candidates: a list where they are kept apart, else stacked.

        Args:
            node: The node.
            values: Of its inputs.
            images: How many images a candidate has.
        """
        if node.name not in self._separate:
            joined = [self.joined(name, value) for name, value in zip(node.inputs, values, strict=True)]
            return self._centre.evaluate(node, joined, images * len(self._arithmetics))
        parts = [self.parts(name, value) for name, value in zip(node.inputs, values, strict=True)]
        return [
            arithmetic.evaluate(node, [part[index] for part in parts], images)
            for index, arithmetic in enumerate(self._arithmetics)
        ]

    def joined(self, name: str, value: Value | list[Value]) -> Value:
        """One value from those of the candidates."""
        if not isinstance(value, list):
            return value
        axis = self._axes[name]
        assert axis is not None, name
        return _over(value[0], torch.cat([_held(part) for part in value], axis))

    def parts(self, name: str, value: Value | list[Value]) -> list[Value]:
        """The values of the candidates from a stacked one."""
        if isinstance(value, list):
            return value
        count, axis = len(self._arithmetics), self._axes[name]
        if axis is None:
            return [value] * count
        return [_over(value, part) for part in _held(value).chunk(count, axis)]


def _held(value: Value) -> Tensor:
    return value.held if isinstance(value, Codes) else value


def _over(value: Value, tensor: Tensor) -> Value:
    return value.holding(tensor) if isinstance(value, Codes) else tensor
