"""Plain float32 fake quantization, as released code computes it. Not exact: for comparison only.

Values are rounded to codes and back as everywhere, but in float32: a value near a tie may get the other code, and one
such code changes others behind it. Its surfaces show how much roughness that adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.portable.device import with_tensors
from landscape.engine.reference import Reference
from landscape.engine.values import Codes, Value
from landscape.errors import UserError
from landscape.graph import Node
from landscape.quant.network import QuantizedNetwork
from landscape.quant.qparams import channel_view


class Float32(Reference):
    """A quantized network in float32.

    Args:
        network: Parameters of all quantizers; LayerNorm float, softmax uniform.
        sibling: Arithmetic of a network that differs in few parameters.

    Raises:
        UserError: The scheme has integer LayerNorm or Log-Int-Softmax.
    """

    name = "float32"

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None) -> None:
        super().__init__(network, sibling)
        if network.scheme.layer_norm != "float" or network.scheme.softmax != "uniform":
            raise UserError("the engine float32 knows float LayerNorm and uniform softmax only; use another engine")
        self._fake_weights: dict[str, Tensor] = {}
        self._nodes: dict[str, Node]
        if isinstance(sibling, Float32):
            self._nodes = sibling._nodes
            old = sibling.network.weights
            self._fake_weights = {k: v for k, v in sibling._fake_weights.items() if network.weights[k] is old[k]}
        else:
            graph = with_tensors(network.graph, lambda t: t.float() if t.is_floating_point() else t)
            self._nodes = {
                node.name: replace(node, bias=network.biases[node.name].float())
                if node.name in network.biases
                else node
                for node in graph
            }

    def input(self, images: Tensor) -> Value:
        """The value of normalised images (N, C, H, W)."""
        return self._quantized("input", images.float())

    def evaluate(self, node: Node, values: Sequence[Value], images: int) -> Value:
        """The value of a node from the values of its inputs: codes, or float32 where nothing is quantized."""
        inputs = [_float(value) for value in values]
        node = self._nodes[node.name]
        if node.op == "unary" and node.attrs["function"] == "gelu":
            result = functional.gelu(inputs[0])
        else:
            result = self.apply(node, inputs, images)
        return self._quantized(node.name, result.float())

    def weight(self, node: Node) -> Tensor:
        """The weight that a layer multiplies with: rounded and corrected in float32."""
        assert node.weight is not None
        if node.name not in self.network.weights:
            return node.weight
        if node.name not in self._fake_weights:
            self._fake_weights[node.name] = self._fake_weight(node.name, node.weight)
        return self._fake_weights[node.name]

    def _fake_weight(self, name: str, weight: Tensor) -> Tensor:
        quantizer = self.network.weights[name]
        scale, zero = (channel_view(v.float(), weight.ndim, 0) for v in (quantizer.scale, quantizer.zero_point))
        quantized = ((weight / scale + zero).round().clamp(0, 2**quantizer.bits - 1) - zero) * scale
        if self.network.scheme.bias_correction != "weight":
            return quantized
        axes = tuple(range(1, weight.ndim))
        spread = weight.std(axes, keepdim=True) / (quantized.std(axes, keepdim=True) + 1e-8)
        quantized = quantized * spread
        return quantized + (weight.mean(axes, keepdim=True) - quantized.mean(axes, keepdim=True))

    def _quantized(self, name: str, value: Tensor) -> Value:
        quantizer = self.network.activations.get(name)
        if quantizer is None:
            return value
        factors = quantizer.factors(value.ndim)
        scale, zero = quantizer.scale.float(), quantizer.zero_point.float()
        step = scale if factors is None else scale * factors.float()
        centred = (value / step + zero).round().clamp(0, 2**quantizer.bits - 1) - zero
        return Codes(centred if factors is None else centred * factors.float(), float(scale))


def _float(value: Value) -> Tensor:
    return value.integers.float() * torch.tensor(value.scale).float() if isinstance(value, Codes) else value.float()
