"""Where the quantizers of a network stand: one function, the same rule for every family of networks.

The value of every operation is quantized, except that

- values that are only moved (views, zero padding, maximum pooling) keep the codes that they have;
- an operation that only an activation function reads is not quantized: the activation function's value is
  (**released**: nothing between fc1 and GELU; convolution, batch norm and ReLU are one);
- a product with a number, and the addition of an attention mask, keep the codes and change what they mean;
- a constant is quantized where it meets activations in a sum (position embedding, relative position bias).

What a LayerNorm reads gets power-of-two factors per channel (PTF), where its channels are an axis of the value; the
softmax has a quantizer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from landscape.graph.ir import PRESERVING, Graph, Node
from landscape.quant.scheme import FLOAT_BITS, Scheme

KEEPING = (*PRESERVING, "scale", "mask_add")
"""Operations that quantize nothing: the codes of their input stay."""


@dataclass(frozen=True)
class Placement:
    """A quantizer to be calibrated.

    Attributes:
        kind: ``uniform``, ``ptf`` (power-of-two factors per channel), or ``log2`` (no parameters but its bits).
        bits: 2 to 8.
        channel_axis: Axis of the channels, for ``ptf``.
    """

    kind: str
    bits: int
    channel_axis: int = -1


def place_quantizers(graph: Graph, scheme: Scheme, exact_input: bool) -> dict[str, Placement]:
    """The quantizers of activations, by the name of the node whose value they quantize.

    Args:
        graph: The network.
        scheme: Bit widths and kinds.
        exact_input: Whether the images are kept as they are.

    Returns:
        In the order of the nodes. Empty where activations stay float.
    """
    if scheme.activation_bits == FLOAT_BITS and scheme.softmax_bits == FLOAT_BITS:
        return {}
    consumers = graph.consumers()
    placements = {}
    for node in graph:
        placement = _placement(graph, node, consumers, scheme, exact_input)
        if placement is not None:
            placements[node.name] = placement
    return placements


def _placement(
    graph: Graph, node: Node, consumers: dict[str, list[str]], scheme: Scheme, exact_input: bool
) -> Placement | None:
    if node.op == "softmax":
        return Placement(scheme.softmax, scheme.softmax_bits) if scheme.softmax_bits != FLOAT_BITS else None
    if scheme.activation_bits == FLOAT_BITS or node.op in KEEPING or (node.op == "input" and exact_input):
        return None
    readers = _final_readers(graph, node, consumers)
    if node.op == "constant" and not any(reader.op in ("add", "mul", "matmul") for reader in readers):
        return None
    if node.op != "input" and readers and all(reader.op == "unary" for reader in readers):
        return None
    norms = [reader.name for reader in readers if reader.op == "layer_norm"]
    axis = graph.channel_axis(node.name, norms[0]) if norms and scheme.residual == "ptf" else None
    if node.op == "constant" or axis is None:
        return Placement("uniform", scheme.activation_bits)
    return Placement("ptf", scheme.activation_bits, axis)


def _final_readers(graph: Graph, node: Node, consumers: dict[str, list[str]]) -> list[Node]:
    """The operations that read a value, directly or through views."""
    readers = []
    for name in consumers[node.name]:
        reader = graph[name]
        readers.extend(_final_readers(graph, reader, consumers) if reader.op in PRESERVING else [reader])
    return readers
