"""The portable arithmetic: the reference's codes from PyTorch's integer products, on any device that PyTorch knows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.clamps import codes_of_clamp, is_clamp
from landscape.engine.portable import float32, operations, tables
from landscape.engine.portable.compiling import usable
from landscape.engine.portable.device import on_device
from landscape.engine.portable.layers import (
    ActivationEpilogue,
    Epilogue,
    Layer,
    depthwise_sums,
    grouped_sums,
    is_depthwise,
    layer_of,
    product_layer,
    shaped,
    sums_of,
)
from landscape.engine.portable.products import (
    LARGEST_DEPTH,
    LARGEST_NARROW,
    PackedWeight,
    fastest,
    memory,
    pack,
    pack_depthwise,
    pack_grouped,
)
from landscape.engine.portable.target import Target, target
from landscape.engine.portable.values import Bytes, ImageBytes, Pending, Powers
from landscape.engine.reference import Reference, _function
from landscape.engine.values import Codes, Value, as_float, masked
from landscape.graph import Node
from landscape.graph.ir import WEIGHTED
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork
from landscape.quant.qparams import CodeRange
from landscape.quant.steps import StepTable, step_table


class Portable(Reference):
    """Like `Reference`, with the same codes, from integer products and kernels with error bounds.

    The kernels and their bounds are in `float32` and `float64`.
    Covered: linear layers and convolutions with the activation function behind them, products of activations, softmax
    (uniform with masks, Log-Int), norms, sums, gates, means, concatenations, views; by tables, factors by channel,
    activation functions and products of codes. All else is left to the reference, node by node. Values between them are
    single bytes.

    Args:
        network: Parameters of all quantizers.
        sibling: Arithmetic of a network that differs in few parameters; what is equal is shared, not computed anew.
        device: ``cpu`` or ``cuda``; parameters are moved there, values stay there.
    """

    name = "portable"

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None, device: str = "cpu") -> None:
        self.source, self.device = network, device
        if device != "cpu":
            known = (sibling.source, sibling.network) if isinstance(sibling, Portable) else None
            network = on_device(network, device, known)
        super().__init__(network, sibling)
        self._operations["unary"] = lambda node, values: _function(node)(values[0])
        self._way = fastest(device)
        self._packed: dict[str, PackedWeight] = {}
        self._epilogues: dict[tuple[str, float, int], Epilogue | ActivationEpilogue] = {}
        self._targets: dict[str, Target] = {}
        self._constants: dict[str, Value] = {}
        self._channels: dict[str, Tensor | None] = sibling._channels if isinstance(sibling, Portable) else {}
        readers = network.graph.consumers()
        self._activations = {
            node.inputs[0]: node
            for node in network.graph
            if node.op == "unary" and self._uniform(node) and readers[node.inputs[0]] == [node.name]
            if is_clamp(node) or network.graph[node.inputs[0]].op in (*WEIGHTED, "matmul", "affine", "add", "mul")
        }
        if isinstance(sibling, Portable):
            self._share(sibling)

    def _share(self, other: Portable) -> None:
        network, old = self.network, other.network
        same = {k for k in network.weights if network.weights[k] is old.weights[k]}
        same_outputs = {k for k in network.activations if network.activations[k] is old.activations.get(k)}
        self._packed = {k: v for k, v in other._packed.items() if k in same}
        self._targets = {k: v for k, v in other._targets.items() if k in same_outputs}
        self._constants = {k: v for k, v in other._constants.items() if k in same_outputs}
        self._epilogues = {
            k: v for k, v in other._epilogues.items() if k[0] in same and self._quantized_by(k[0]) in same_outputs
        }

    def _quantized_by(self, layer: str) -> str:
        activation = self._activations.get(layer)
        return layer if activation is None else activation.name

    @property
    def candidates_at_once(self) -> int:
        """How many candidates are best evaluated together: on a GPU, whose single launches are short, several.

        On a CPU a batch of `images_at_once` keeps the cores busy already; more only leaves the caches.
        """
        return 1 if self.device == "cpu" else 8

    @property
    def images_at_once(self) -> int:
        """How many images are best evaluated together: what a kernel costs whatever its size is shared among them."""
        return 16 if self.device == "cpu" and self._large_images else 64

    @property
    def most_images_at_once(self) -> int | None:
        """How many at most, if any: results had better stay in the caches, and uncompiled each operation writes one."""
        if self.device != "cpu":
            return None
        if not usable():
            return 2 if self._large_images else 8
        return 16 if self._large_images else None

    @property
    def _large_images(self) -> bool:
        _, height, width = self.graph.input_shape
        return height * width > 112 * 112

    def input(self, images: Tensor) -> Value:
        """The value of normalised images (N, C, H, W)."""
        return super().input(images.to(self.device))

    def pixels(self, images: ImageSet, chosen: slice) -> Value:
        """The value of some images of a set: codes looked up by channel and pixel, of which there are 256."""
        if not self._uniform(self.graph["input"]):
            return super().pixels(images, chosen)
        pixels = images.pixels[chosen].to(self.device)
        channels = pixels.shape[1]
        every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 256).expand(1, channels, 1, 256)
        found = self.input(replace(images, pixels=every).normalized(dtype=torch.float64))
        assert isinstance(found, Bytes)
        first = 256 * torch.arange(channels, dtype=torch.int32, device=pixels.device).reshape(1, channels, 1, 1)
        places = memory(pixels.shape, pixels.device).copy_(pixels).add_(first)
        codes = found.codes.reshape(-1).index_select(0, places.reshape(-1))  # faster than other indexing
        return Bytes(codes.reshape(pixels.shape), found.zero_point, found.scale)

    def evaluate(self, node: Node, values: Sequence[Value], images: int) -> Value:
        """The value of a node from the values of its inputs; see `Reference.evaluate`."""
        node = self.graph[node.name]  # the one on this device
        if node.op == "constant":
            if node.name not in self._constants:
                self._constants[node.name] = self._small(node, super().evaluate(node, values, images))
            return self._constants[node.name]
        result = self._covered(node, values)
        if result is None:
            result = self._small(node, super().evaluate(node, [self._plain(v) for v in values], images))
        return result

    def _covered(self, node: Node, values: Sequence[Value]) -> Value | None:
        first = values[0] if values else None
        if node.op in ("linear", "conv2d"):
            return self._layer(node, first)
        if node.op == "unary":
            return self._activation(node, first)
        if node.op == "cat":
            return self._joined(node, values)
        if node.op == "softmax" and isinstance(first, Codes) and self._has_target(node):
            return self._softmax_of(node, first)
        if node.op == "softmax" and isinstance(first, Bytes) and self._logarithmic(node):
            table = self._softmax_table(node, first.scale, "log2")
            return operations.log_softmax(first, table, self.network.placements[node.name].bits)
        if node.op == "matmul" and isinstance(first, Bytes | Powers):
            return self._product_of(node, first, values[1])
        if node.op == "view" and isinstance(first, Bytes | ImageBytes):
            return self._view(node, first)
        if not isinstance(first, Bytes):
            return None
        if node.op == "mask_add":
            return masked(first, node.attrs["mask"])
        if node.op == "scale":
            return tables.times(first, node.attrs["factor"])
        if node.op == "affine":
            return self._by_channel(node, first)
        if node.op == "max_pool2d":
            return self._pooled(node, first)
        if node.op == "mean":
            return self._mean_of(node, first)
        if node.op == "avg_pool2d":
            return self._averages(node, first)
        if node.op in ("add", "mul") and node.name in self._activations:
            return self._pending_pair(node, first, values[1])
        codes: Tensor | None = None
        if not self._has_target(node):
            return None
        if node.op == "add" and isinstance(values[1], Bytes):
            codes = operations.total(first, values[1], self._target(node.name))
        elif node.op == "mul" and isinstance(values[1], Bytes):
            codes = operations.gated(first, values[1], self._target(node.name))
            if codes is None:
                return self._pairs((node,), first, values[1])
        elif node.op in ("layer_norm", "rms_norm"):
            codes = self._norm(node, first)
        return None if codes is None else self._target(node.name).value(codes)

    def _logarithmic(self, node: Node) -> bool:
        placement = self.network.placements.get(node.name)
        return placement is not None and placement.kind == "log2"

    def _product_of(self, node: Node, a: Bytes | Powers, b: Value) -> Value | None:
        if not isinstance(b, Bytes):
            return None
        if node.name in self._activations and operations.can_multiply(a, b) and isinstance(a, Bytes):
            return Pending(a, lambda x, y: as_float(super(Portable, self).evaluate(node, [x, y], 0)), b)
        if not self._has_target(node):
            return None
        to = self._target(node.name)
        codes = operations.product(a, b, node.attrs["scale"], to, self._way)
        return None if codes is None else to.value(codes)

    def _softmax_of(self, node: Node, x: Codes) -> Value | None:
        if self.network.placements[node.name].kind != "uniform":
            return None
        codes = operations.softmax(x, self._softmax_table(node, x.scale, "uniform"), self._target(node.name))
        return None if codes is None else self._target(node.name).value(codes)

    def _plain(self, value: Value) -> Value:
        """A value as the reference takes it."""
        if isinstance(value, Pending):
            return value.value()
        return Codes(value.integers.double(), value.scale) if isinstance(value, Bytes | ImageBytes) else value

    def _small(self, node: Node, value: Value) -> Value:
        """A result of the reference as bytes, where it has a quantizer whose codes it holds."""
        if not isinstance(value, Codes) or isinstance(value, Bytes | Pending) or not self._has_target(node):
            return value
        to = self._target(node.name)
        if value.scale != to.step:
            return value
        integers = value.integers if to.factors is None else value.integers / to.factors
        return to.value((integers + to.zero_point).to(torch.uint8))

    def _layer(self, node: Node, x: Value | None) -> Value | None:
        if not isinstance(x, Bytes) or x.factors is not None or node.name not in self.network.weights:
            return None
        assert node.weight is not None
        if node.weight[0].numel() > LARGEST_DEPTH:
            return None
        if node.name in self._activations:
            return Pending(x, functools.partial(self._value_of_layer, node))
        if node.name not in self.network.activations:
            return self._value_of_layer(node, x)
        quantizer = self.network.activations[node.name]
        by_group = self._is_grouped(node) and not self._has_depthwise_sums(node)
        if node.op == "conv2d" and quantizer.exponents is not None and (quantizer.channel_axis != 1 or by_group):
            return None
        return self._run_layer(node, x, node)

    def _activation(self, node: Node, x: Value | None) -> Value | None:
        if isinstance(x, Bytes) and x.factors is None and self._uniform(node):
            return self._looked_up((node,), x)
        clamps = is_clamp(node) and self._uniform(node)
        if not isinstance(x, Pending):
            to = self._target(node.name) if clamps else None
            return None if to is None or x is None else to.value(to.exact(as_float(x)))
        before = self.graph[node.inputs[0]]
        if before.op == "affine":
            return self._looked_up((before, node), x.x)
        if x.y is None:
            return self._run_layer(before, x.x, node)
        to = self._target(node.name)
        if before.op == "matmul":
            return to.value(self._activated_product(before, node, x.x, x.y))
        if before.op == "mul" or not clamps:
            found = self._pairs((before, node), x.x, x.y)
            return to.value(to.exact(x.value())) if found is None else found
        codes = operations.total(x.x, x.y, to)
        return to.value(to.exact(x.value()) if codes is None else codes)

    def _pending_pair(self, node: Node, x: Bytes, y: Value) -> Value | None:
        """A sum or product that an activation function reads: where it does not clamp, of values without factors."""
        if not isinstance(y, Bytes) or x.codes.shape[1:] != y.codes.shape[1 - x.codes.ndim :]:
            return None
        if (node.op == "mul" or not is_clamp(self._activations[node.name])) and not x.factors is y.factors is None:
            return None
        operation = torch.add if node.op == "add" else torch.mul
        return Pending(x, lambda a, b: operation(a.value(), b.value()), y.with_codes(y.codes.expand_as(x.codes)))

    def _by_channel(self, node: Node, x: Bytes) -> Value | None:
        if x.factors is not None:
            return None
        if node.name in self._activations:
            return Pending(x, lambda a: self.apply(node, [a.value()], 0))
        return self._looked_up((node,), x) if self._uniform(node) else None

    def _looked_up(self, nodes: tuple[Node, ...], x: Bytes) -> Value:
        return tables.of_codes(self, nodes, x, self._target(nodes[-1].name))

    def _pairs(self, nodes: tuple[Node, ...], x: Bytes, y: Bytes) -> Value | None:
        if not self._uniform(nodes[-1]) or x.factors is not None or y.factors is not None:
            return None
        return tables.of_pairs(self, nodes, (x, y), self._target(nodes[-1].name))

    def _activated_product(self, node: Node, activation: Node, a: Bytes, b: Bytes) -> Tensor:
        sums, gain = operations.product_integers(a, b, self._way), a.scale * b.scale * node.attrs["scale"]
        depth, channels = a.codes.shape[-1], sums.shape[-1]
        key = (node.name, gain, depth)
        if key not in self._epilogues:
            self._epilogues[key] = self._epilogue(product_layer(depth, channels, gain, sums.device), node, activation)
        return self._epilogues[key](sums.reshape(-1, channels)).reshape(*a.codes.shape[:-1], channels)

    def _run_layer(self, node: Node, x: Bytes, quantized: Node) -> Value:
        key = (node.name, x.scale, x.zero_point)
        if key not in self._epilogues:
            layer = layer_of(self._weight(node), self.operand(node), x)
            self._epilogues[key] = self._epilogue(layer, node, quantized)
        epilogue = self._epilogues[key]
        codes = epilogue(self._sums(node, epilogue.layer, x))
        value = self._target(quantized.name).value(shaped(node, x, codes))
        if node.op == "conv2d" and value.factors is not None:
            return ImageBytes(value.codes, value.zero_point, value.scale, value.factors)
        return value

    def _epilogue(self, layer: Layer, node: Node, quantized: Node) -> Epilogue | ActivationEpilogue:
        """From a node's sums to the codes of `quantized`: the node itself, or the activation function behind it."""
        to = self._target(quantized.name)
        if quantized is node or is_clamp(quantized):
            return Epilogue(layer, to)
        return ActivationEpilogue(layer, to, quantized.attrs["function"], self._steps_of(quantized))

    def _value_of_layer(self, node: Node, x: Bytes) -> Tensor:
        layer: Layer = layer_of(self._weight(node), self.operand(node), x)
        return shaped(node, x, layer.value(self._sums(node, layer, x)))

    def _has_depthwise_sums(self, node: Node) -> bool:
        assert node.weight is not None
        fits = is_depthwise(node) and node.weight[0].numel() <= float32.LARGEST_DEPTHWISE
        return fits and self.operand(node).offset is None

    def _is_grouped(self, node: Node) -> bool:
        return bool(node.attrs.get("groups", 1) != 1)

    def _sums(self, node: Node, layer: Layer, x: Bytes) -> Tensor:
        if not self._is_grouped(node):
            return sums_of(node, layer, x)
        return (depthwise_sums if self._has_depthwise_sums(node) else grouped_sums)(node, layer, x)

    def _weight(self, node: Node) -> PackedWeight:
        if node.name not in self._packed:
            integers = self.operand(node).integers
            if self._has_depthwise_sums(node):
                self._packed[node.name] = pack_depthwise(integers)
            elif self._is_grouped(node):
                self._packed[node.name] = pack_grouped(integers, node.attrs["groups"])
            else:
                wide = bool(integers.abs().max() > LARGEST_NARROW)
                self._packed[node.name] = pack(integers, fastest(self.device, wide))
        return self._packed[node.name]

    def _steps_of(self, node: Node) -> StepTable:
        if node.name not in self._steps:
            quantizer = self.network.activations[node.name]
            self._steps[node.name] = step_table(
                _function(node), quantizer.scale, quantizer.zero_point, CodeRange(quantizer.bits)
            ).to(self.device)
        return self._steps[node.name]

    def _unary(self, node: Node, values: Sequence[Value]) -> Value | None:
        if self._uniform(node):
            self._steps_of(node)  # on this device
        return super()._unary(node, values)

    def _norm(self, node: Node, x: Bytes) -> Tensor | None:
        assert node.weight is not None
        if node.op == "rms_norm":
            return operations.rms_norm(x, node.weight, node.attrs["eps"], node.attrs["floor"], self._target(node.name))
        assert node.bias is not None
        if self.network.scheme.layer_norm == "integer":
            return operations.integer_layer_norm(x, node.weight, node.bias, self._target(node.name))
        return operations.layer_norm(x, node.weight, node.bias, node.attrs["eps"], self._target(node.name))

    def _view(self, node: Node, x: Bytes | ImageBytes) -> Value | None:
        factors = x.factors
        if factors is not None:
            channels = self._channels_of(node, x)
            if channels is None:
                return None
            factors = factors[channels]
        if node.attrs["call"] is functional.pad:
            codes = functional.pad(x.codes, node.attrs["args"][0], value=x.zero_point)
        else:
            codes = self.apply(node, [x.codes], 0)
        return Bytes(codes, x.zero_point, x.scale, factors)

    def _channels_of(self, node: Node, x: Bytes | ImageBytes) -> Tensor | None:
        """Which channels lie along the last axis behind a view, where they do so everywhere alike; found once."""
        if node.name not in self._channels:
            axis = 1 if isinstance(x, ImageBytes) else x.codes.ndim - 1
            numbers = torch.arange(x.codes.shape[axis], device=x.codes.device)
            numbers = numbers.reshape([-1 if a == axis else 1 for a in range(x.codes.ndim)])
            rows = self.apply(node, [numbers.expand(x.codes.shape).contiguous()], 0).flatten(0, -2)
            alike = node.attrs["call"] is not functional.pad and bool((rows == rows[0]).all())
            self._channels[node.name] = rows[0].clone() if alike else None
        return self._channels[node.name]

    def _mean_of(self, node: Node, x: Bytes) -> Value | None:
        if x.factors is not None:
            return None
        sums = x.codes.sum(node.attrs["dims"], node.attrs["keepdim"], dtype=torch.int64)
        count = x.codes.numel() // sums.numel()
        return self._quantized(node, (sums - count * x.zero_point).double() * x.scale / count)

    def _averages(self, node: Node, x: Bytes) -> Value | None:
        kernel, stride, padding = (node.attrs[key] for key in ("kernel", "stride", "padding"))
        window = kernel[0] * kernel[1]
        if x.factors is not None or window * 255 >= 2**24:
            return None
        integers = x.codes.float() - x.zero_point
        sums = functional.avg_pool2d(integers, kernel, stride, padding, divisor_override=1)  # exact in float32
        return self._quantized(node, sums.double() * x.scale / window)

    def _quantized(self, node: Node, value: Tensor) -> Value:
        return self._quantize(node.name, value) if node.name in self.network.activations else value

    def _pooled(self, node: Node, x: Bytes) -> Value | None:
        if x.factors is not None:
            return None
        return Bytes(self.apply(node, [x.codes.float()], 0).to(torch.uint8), x.zero_point, x.scale)

    def _joined(self, node: Node, values: Sequence[Value]) -> Value | None:
        """Parts are quantized, then joined, which is the same as the other way around."""
        across = node.attrs["dim"] % len(node.shape) == len(node.shape) - 1
        if not self._has_target(node) or (across and not self._uniform(node)):
            return None
        to = self._target(node.name)
        parts = []
        for value in values:
            if not isinstance(value, Bytes):
                if isinstance(value, Codes):
                    return None
                parts.append(to.exact(value))
            elif value.factors is None and to.factors is None:
                parts.append(tables.of_codes(self, (node,), value, to).codes)
            else:
                parts.append(operations.requantized(value, to))
        return to.value(tables.joined(parts, node.attrs["dim"]))

    def _quantize(self, name: str, value: Tensor) -> Codes:
        quantizer = self.network.activations[name]
        if quantizer.exponents is not None:
            return super()._quantize(name, value)
        to = self._target(name)
        return to.value(to.exact(value))

    def _uniform(self, node: Node) -> bool:
        quantizer = self.network.activations.get(node.name)
        return quantizer is not None and quantizer.exponents is None

    def _has_target(self, node: Node) -> bool:
        """Whether the node has a quantizer whose channels, if it has factors, lie along the last axis."""
        quantizer = self.network.activations.get(node.name)
        if quantizer is None:
            return False
        return quantizer.exponents is None or quantizer.channel_axis in (-1, len(node.shape) - 1)

    def _target(self, name: str) -> Target:
        if name not in self._targets:
            node, quantizer = self.graph[name], self.network.activations[name]
            ends = codes_of_clamp(node, quantizer) if is_clamp(node) and self._uniform(node) else None
            self._targets[name] = target(quantizer, ends)
        return self._targets[name]
