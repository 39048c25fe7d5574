"""The baseline for convolutional networks: float32 fake quantization of a captured graph, written the usual way.

Every forward pass quantizes and dequantizes all weights anew, restores their moments where the scheme says so, and
quantizes and dequantizes the value of every operation, in eager PyTorch. Batch norms are folded beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from benchmarks.eager_vit import FakeQuantizer
from landscape.gradient.surrogate import UNARY
from landscape.graph import Node
from landscape.quant.network import QuantizedNetwork


class FakeQuantizedGraph(nn.Module):
    """A convolutional network with a fake quantizer behind every operation.

    Args:
        network: The network, calibrated: where the scales come from.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        super().__init__()
        self.graph, self.corrected = network.graph, network.scheme.bias_correction == "weight"
        self.quantizers = {
            name: FakeQuantizer(found.scale, found.zero_point, found.bits)
            for name, found in network.activations.items()
        }
        self.weight_quantizers, self.parameters_of = {}, {}
        for node in network.graph.weighted():
            assert node.weight is not None
            found, shape = network.weights[node.name], (-1, *[1] * (node.weight.ndim - 1))
            self.weight_quantizers[node.name] = FakeQuantizer(
                found.scale.reshape(shape), found.zero_point.reshape(shape), found.bits
            )
            bias = network.biases.get(node.name, node.bias)
            self.parameters_of[node.name] = (node.weight.float(), None if bias is None else bias.float())
        self._operations: dict[str, Callable[[Node, list[Tensor]], Tensor]] = {
            "conv2d": self._convolution,
            "linear": lambda n, v: functional.linear(v[0], self._weight(n), self.parameters_of[n.name][1]),
            "add": lambda n, v: v[0] + v[1],
            "unary": lambda n, v: UNARY[n.attrs["function"]](v[0]),
            "mean": lambda n, v: v[0].mean(n.attrs["dims"], n.attrs["keepdim"]),
            "avg_pool2d": lambda n, v: functional.avg_pool2d(
                v[0], n.attrs["kernel"], n.attrs["stride"], n.attrs["padding"]
            ),
            "max_pool2d": lambda n, v: functional.max_pool2d(v[0], *n.attrs["args"]),
            "view": lambda n, v: n.attrs["call"](v[0], *n.attrs.get("args", ()), **n.attrs.get("kwargs", {})),
        }

    def _weight(self, node: Node) -> Tensor:
        weight = self.parameters_of[node.name][0]
        quantized: Tensor = self.weight_quantizers[node.name](weight)
        if not self.corrected:
            return quantized
        axes = tuple(range(1, weight.ndim))
        quantized = quantized * (weight.std(axes, keepdim=True) / (quantized.std(axes, keepdim=True) + 1e-8))
        return quantized + weight.mean(axes, keepdim=True) - quantized.mean(axes, keepdim=True)

    def _convolution(self, node: Node, values: list[Tensor]) -> Tensor:
        a = node.attrs
        bias = self.parameters_of[node.name][1]
        return functional.conv2d(
            values[0], self._weight(node), bias, a["stride"], a["padding"], a["dilation"], a["groups"]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, C, H, W), float32."""
        values = {"input": self._quantized("input", images)}
        for node in self.graph:
            if node.op != "input":
                inputs = [values[name] for name in node.inputs]
                values[node.name] = self._quantized(node.name, self._operations[node.op](node, inputs))
        return values[self.graph.output]

    def _quantized(self, name: str, x: Tensor) -> Tensor:
        quantized: Tensor = self.quantizers[name](x) if name in self.quantizers else x
        return quantized
