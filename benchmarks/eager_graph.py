"""The baseline for networks of any kind: float32 fake quantization of a captured graph, written the usual way.

Every forward pass quantizes and dequantizes all weights anew, restores their moments where the scheme says so, and
quantizes and dequantizes the value of every operation, in eager PyTorch. Batch norms are folded beforehand.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from benchmarks.eager_vit import FakeQuantizer, corrected
from landscape.engine.portable.device import with_tensors
from landscape.engine.reference import FloatPass
from landscape.gradient.surrogate import UNARY
from landscape.graph import Graph, Node
from landscape.quant.network import QuantizedNetwork


class FakeQuantizedGraph(nn.Module):
    """A network with a fake quantizer behind every operation.

    Args:
        network: The network, calibrated: where the scales come from.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        super().__init__()
        self.quantizers = {}
        for name, found in network.activations.items():
            factors = found.factors(len(network.graph[name].shape))
            scale = found.scale if factors is None else found.scale * factors
            self.quantizers[name] = FakeQuantizer(scale, found.zero_point, found.bits)
        graph = with_tensors(network.graph, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
        for name, bias in network.biases.items():
            graph.nodes[name] = replace(graph[name], bias=bias.float())
        self._float32 = _Float32Pass(graph, network)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, C, H, W), float32."""
        run = self._float32
        values = {"input": self._quantized("input", images)}
        for node in run.graph:
            if node.op != "input":
                value = run.apply(node, [values[name] for name in node.inputs], len(images))
                values[node.name] = self._quantized(node.name, value)
        return values[run.graph.output]

    def _quantized(self, name: str, x: Tensor) -> Tensor:
        quantized: Tensor = self.quantizers[name](x) if name in self.quantizers else x
        return quantized


class _Float32Pass(FloatPass):
    """The float network with weights that are quantized whenever a layer reads them."""

    def __init__(self, graph: Graph, network: QuantizedNetwork) -> None:
        super().__init__(graph)
        self._operations["unary"] = lambda n, v: UNARY[n.attrs["function"]](v[0])
        self._corrected = network.scheme.bias_correction == "weight"
        self._quantizers = {}
        for node in network.graph.weighted():
            assert node.weight is not None
            found, shape = network.weights[node.name], (-1, *[1] * (node.weight.ndim - 1))
            scale, zero_point = found.scale.reshape(shape), found.zero_point.reshape(shape)
            self._quantizers[node.name] = FakeQuantizer(scale, zero_point, found.bits)

    def weight(self, node: Node) -> Tensor:
        """float32 (out, ...)."""
        weight = super().weight(node)
        quantized: Tensor = self._quantizers[node.name](weight)
        return corrected(weight, quantized) if self._corrected else quantized
