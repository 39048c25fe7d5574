"""Calibration: from a float network and some images to a `QuantizedNetwork`.

The float network runs over the calibration images in small batches (twice where an observer needs the range first),
and every observer sees the values of its node as they pass; nothing is kept but the observers' statistics.

Ranges that do not hold zero are widened to it (**ours**). In the released networks there are none but the softmax's,
which is left as released; but the kernels of depthwise convolutions often have one sign, and the gates of
squeeze-and-excite are all positive, and the released rule would clip their largest values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from landscape.engine.reference import FloatPass
from landscape.errors import UserError
from landscape.graph import Graph, Node
from landscape.images import ImageSet
from landscape.quant.bias_correction import output_mean_shift
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork, WeightQuantizer
from landscape.quant.observers import (
    EMAObserver,
    MinMaxObserver,
    Observer,
    PercentileObserver,
    minmax_weight,
)
from landscape.quant.omse import OMSEObserver, omse_weight
from landscape.quant.placement import Placement, place_quantizers
from landscape.quant.power_of_two import PowerOfTwoFactorObserver
from landscape.quant.qparams import CodeRange, PowerOfTwoQParams
from landscape.quant.scheme import FLOAT_BITS, Scheme

BATCH = 8
"""Images at a time during calibration."""

OBSERVERS: dict[str, Callable[..., Observer]] = {
    "minmax": MinMaxObserver,
    "ema": EMAObserver,
    "percentile": PercentileObserver,
    "omse": OMSEObserver,
}


def quantize_network(
    graph: Graph,
    scheme: Scheme,
    images: ImageSet,
    exact_input: bool,
    progress: Callable[[int], None] | None = None,
) -> QuantizedNetwork:
    """Calibrate all quantizers of a network.

    Args:
        graph: The float network.
        scheme: How it is to be quantized.
        images: Calibration images; never the test images.
        exact_input: Whether the images are kept as they are; see `keeps_input`.
        progress: Told the number of images after each batch.

    Returns:
        The quantized network: the centre of scale space.

    Raises:
        UserError: A value in the network is not finite, or there are no images.
    """
    if len(images) == 0:
        raise UserError("no calibration images; give at least one")
    scheme = scheme.for_graph(graph)
    placements = place_quantizers(graph, scheme, exact_input)
    activations = calibrate_activations(graph, scheme, placements, images, progress)
    weights = quantize_weights(graph, scheme)
    network = QuantizedNetwork(graph, scheme, exact_input, placements, weights, activations)
    if scheme.bias_correction == "output" and weights:
        network = replace(network, biases=corrected_biases(network, images))
    return network


def passes_over_images(scheme: Scheme) -> int:
    """How often calibration runs over the images, for progress bars."""
    floating = scheme.activation_bits == FLOAT_BITS and scheme.softmax_bits == FLOAT_BITS
    observing = 0 if floating else 2 if scheme.activation_observer == "omse" or scheme.residual == "ptf" else 1
    return observing + (scheme.bias_correction == "output")


def quantize_weights(graph: Graph, scheme: Scheme) -> dict[str, WeightQuantizer]:
    """Weight quantizers of all layers; none with 32-bit weights.

    Raises:
        UserError: A weight is not finite.
    """
    if scheme.weight_bits == FLOAT_BITS:
        return {}
    quantizers = {}
    for node in graph.weighted():
        assert node.weight is not None
        if not bool(torch.isfinite(node.weight).all()):
            raise UserError(f"the weight of {node.name} holds values that are not finite; check the weights file")
        quantizers[node.name] = _weight_quantizer(node.weight, scheme)
    return quantizers


def _weight_quantizer(weight: Tensor, scheme: Scheme) -> WeightQuantizer:
    code_range = CodeRange(scheme.weight_bits, signed=scheme.weight_codes == "signed")
    rows = weight.reshape(1, -1) if scheme.weight_scales == "tensor" else weight
    if scheme.weight_observer == "minmax":
        found = minmax_weight(rows, code_range, include_zero=True)
    else:
        shared = scheme.weight_observer == "omse-shared"
        found = omse_weight(rows, code_range, shared_ratio=shared, include_zero=True)
    scale, zero_point = _rounded(found.scale), found.zero_point - code_range.qmin
    return WeightQuantizer(scheme.weight_bits, *(v.expand(weight.shape[0]).clone() for v in (scale, zero_point)))


def float_values(graph: Graph, images: Tensor) -> Iterator[tuple[Node, Tensor]]:
    """All values of the float network on a batch of normalised images (N, C, H, W), in order; float64."""
    passed = FloatPass(graph)
    last = {name: node.name for node in graph for name in node.inputs}
    values: dict[str, Tensor] = {}
    for node in graph:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = images.double() if node.op == "input" else passed.apply(node, inputs, images.shape[0])
        yield node, values[node.name]
        for name in set(node.inputs):
            if last[name] == node.name:
                del values[name]


def keeps_input(scheme: Scheme, mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether the images are not quantized.

    With ``input="auto"`` they are kept where (p / 255 - 0.5) / 0.5 puts 8-bit pixels on equal steps already, as the
    released code does for ViT-B and ViT-L; any other 8-bit grid there would only move every pixel by half a step.
    With 32-bit activations there is no grid at all.
    """
    if scheme.activation_bits == FLOAT_BITS:
        return False
    return scheme.input == "exact" or (scheme.input == "auto" and set(mean) == set(std) == {0.5})


def calibrate_activations(
    graph: Graph,
    scheme: Scheme,
    placements: Mapping[str, Placement],
    images: ImageSet,
    progress: Callable[[int], None] | None = None,
) -> dict[str, ActivationQuantizer]:
    """Quantizers of activations; they do not depend on the weights' bits or observer.

    Args:
        graph: The float network.
        scheme: How it is to be quantized.
        placements: Of `place_quantizers`; Log-Int-Softmax needs no parameters and gets none.
        images: Calibration images.
        progress: Told the number of images after each batch.

    Raises:
        UserError: A value in the network is not finite.
    """
    observers = {
        name: _observer(graph, name, place, scheme) for name, place in placements.items() if place.kind != "log2"
    }
    for number in range(max((o.passes for o in observers.values()), default=0)):
        active = {name: o for name, o in observers.items() if number < o.passes}
        for start in range(0, len(images), BATCH):
            batch = images.normalized(slice(start, start + BATCH), torch.float64)
            for node, value in float_values(graph, batch):
                if node.name in active:
                    _observe(active[node.name], node, value, number)
            if progress is not None:
                progress(batch.shape[0])
    return {name: _quantizer(observer, placements[name]) for name, observer in observers.items()}


def _observer(graph: Graph, name: str, place: Placement, scheme: Scheme) -> Observer:
    signed = scheme.activation_codes == "signed" and graph[name].op != "softmax"
    code_range = CodeRange(place.bits, signed=signed)
    if place.kind == "ptf":
        return PowerOfTwoFactorObserver(code_range, channel_axis=place.channel_axis)
    return OBSERVERS[scheme.activation_observer](code_range, include_zero=graph[name].op != "softmax")


def _observe(observer: Observer, node: Node, value: Tensor, number: int) -> None:
    try:
        observer.observe(value, number)
    except ValueError as error:
        raise UserError(f"cannot calibrate {node.name}: {error}; check the weights and the images") from error


def _quantizer(observer: Observer, place: Placement) -> ActivationQuantizer:
    found = observer.qparams()
    exponents = found.exponents if isinstance(found, PowerOfTwoQParams) else None
    zero_point = found.zero_point - observer.code_range.qmin  # signed codes as unsigned ones, the same grid
    return ActivationQuantizer(place.bits, _rounded(found.scale), zero_point, exponents, place.channel_axis)


def _rounded(scale: Tensor) -> Tensor:
    """A scale as the float32 number that files hold; also hides in which order the float network's sums were taken."""
    return scale.float().double()


def corrected_biases(network: QuantizedNetwork, images: ImageSet) -> dict[str, Tensor]:
    """Biases that restore the mean output of every layer on the float network's own inputs; float64 (out,) by layer."""
    readers: dict[str, list[Node]] = {}
    for layer in network.graph.weighted():
        readers.setdefault(layer.inputs[0], []).append(layer)
    sums: dict[str, Tensor] = {}
    for start in range(0, len(images), BATCH):
        batch = images.normalized(slice(start, start + BATCH), torch.float64)
        for node, value in float_values(network.graph, batch):
            for layer in readers.get(node.name, ()):
                channels = value.movedim(1 if layer.op == "conv2d" else -1, 0).flatten(1)
                total = channels.mean(1) * batch.shape[0]
                sums[layer.name] = sums[layer.name] + total if layer.name in sums else total
    biases = {}
    for layer in network.graph.weighted():
        assert layer.weight is not None
        quantized, mean = network.operand(layer.name).dequantized(), sums[layer.name] / len(images)
        shift = output_mean_shift(layer.weight, quantized, mean)
        biases[layer.name] = shift if layer.bias is None else layer.bias + shift
    return biases
