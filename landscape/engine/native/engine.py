"""The native arithmetic: the reference's values through compiled kernels, on small integers."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.native.bound import BoundPlan
from landscape.engine.native.builder import Segment
from landscape.engine.native.compiling import compile_plans
from landscape.engine.native.plan import Plan
from landscape.engine.native.prepared import Prepared
from landscape.engine.native.values import Deferred, RawCodes, SmallIntegers
from landscape.engine.reference import Reference
from landscape.engine.values import Codes, Value, masked
from landscape.graph import Node
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork
from landscape.quant.softmax import MAX_TOKENS

_P, _I, _N = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


class Native(Prepared):
    """Like `Reference`, with the same codes, faster: lists of nodes run as plans, image by image.

    What no step of a plan covers is left to the reference, node by node. Steps there are for linear layers, all
    convolutions, products of activations, softmax, norms, sums, concatenations, pools, interpolation, activation
    functions right behind a layer, a sum or codes, factors by channel, products of two codes, and views. Softmax of
    masked logits and the product of images with a number per channel have kernels of their own. Values between them are
    uint8 or int16, masked logits int32.

    Args:
        network: Parameters of all quantizers.
        sibling: Arithmetic of a network that differs in few parameters; what is equal is shared, not computed anew.

    Raises:
        NativeUnavailable: No compiler, or the instruction set asked for is not there.
    """

    name = "native"

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None) -> None:
        super().__init__(network, sibling)
        self._bound: dict[tuple[Any, int], BoundPlan] = {}
        readers = network.graph.consumers()
        self._fused = {
            node.inputs[0]
            for node in network.graph
            if node.op == "unary" and node.name in network.activations and readers[node.inputs[0]] == [node.name]
        }

    def run_nodes(
        self, nodes: Sequence[Node], values: Mapping[str, Value], keep: Collection[str], images: int
    ) -> dict[str, Value]:
        """Values of the kept nodes, many nodes at once, image by image; see `RunsNodes` of the evaluator."""
        key, segments = self._compiled(nodes, keep)
        found = dict(values)
        for index, segment in enumerate(segments):
            ready = self._run_plan(key, index, segment, found, images) if isinstance(segment, Plan) else None
            if ready is not None:
                found.update(ready)
                continue
            for node in segment.nodes if isinstance(segment, Plan) else [segment]:
                inputs = [self._value_of(name, found, images) for name in node.inputs]
                found[node.name] = self.evaluate(node, inputs, images)
        return {name: found[name] for name in keep}

    def _compiled(self, nodes: Sequence[Node], keep: Collection[str]) -> tuple[Any, list[Segment]]:
        key = (tuple(node.name for node in nodes), frozenset(keep))
        if key not in self._plans:
            self._plans[key] = compile_plans(self.network, nodes, keep)
        return key, self._plans[key]

    def _run_plan(
        self, key: Any, index: int, plan: Plan, values: Mapping[str, Value], images: int
    ) -> dict[str, Value] | None:
        """What a plan gives; None where it cannot take these values."""
        if (key, index) not in self._bound:
            self._bound[key, index] = BoundPlan(self, plan)
        return self._bound[key, index].run(values, images)

    def _value_of(self, name: str, found: Mapping[str, Value], images: int) -> Value:
        """A value, computed here where it is a constant, or a view of one, that plans pass over."""
        if name in found:
            return found[name]
        node = self.network.graph[name]
        return self.evaluate(node, [self._value_of(i, found, images) for i in node.inputs], images)

    def input(self, images: Tensor) -> Value:
        """The value of normalised images (N, C, H, W)."""
        if "input" in self.network.activations:
            return self._quantize("input", images.double())
        value = super().input(images)
        return SmallIntegers(_small_enough(value.integers), value.scale) if isinstance(value, Codes) else value

    def pixels(self, images: ImageSet, chosen: slice) -> Value:
        """The value of some images of a set: looked up by channel and pixel, of which there are 256.

        In memory the channels of a pixel lie side by side.
        """
        if "input" not in self.network.activations and not self.network.exact_input:
            return super().pixels(images, chosen)
        pixels = images.pixels[chosen].contiguous()
        count, channels, height, width = pixels.shape
        all_pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 256).expand(1, channels, 1, 256)
        found = self.input(replace(images, pixels=all_pixels).normalized(dtype=torch.float64))
        assert isinstance(found, Codes)
        table = found.held.contiguous()
        out = torch.empty((count, height, width, channels), dtype=table.dtype)
        self.kernels.landscape_pixels(
            _I(torch.get_num_threads()), _P(pixels.data_ptr()), _N(count), _N(channels), _N(height * width),
            _N(table.element_size()), _P(table.data_ptr()), _P(out.data_ptr()),
        )  # fmt: skip
        return found.holding(out.permute(0, 3, 1, 2))

    def evaluate(self, node: Node, values: Sequence[Value], images: int) -> Value:
        """The value of a node from the values of its inputs; see `Reference.evaluate`."""
        if node.op == "constant":
            if node.name not in self._constants:
                self._constants[node.name] = super().evaluate(node, values, images)
            return self._constants[node.name]
        if node.op == "mask_add" and isinstance(values[0], RawCodes):
            logits = masked(values[0], node.attrs["mask"])
            if logits is not None:
                return logits
        if node.op == "softmax" and not isinstance(values[0], RawCodes):
            chances = self._softmax_of_integers(node, values[0])
            if chances is not None:
                return chances
        if node.op == "mul":
            gated = self._gated(node, values)
            if gated is not None:
                return gated
        if node.op == "view":
            moved = self._view(node, values[0])
            if moved is not None:
                return moved
        if node.op in ("linear", "conv2d") and node.name in self._fused and isinstance(values[0], RawCodes):
            x = values[0]
            return Deferred(x, lambda: _float64(self._alone([node], node.inputs, [x], images)))
        if isinstance(values[0], Deferred):
            layer = self.network.graph[node.inputs[0]]
            return self._alone([layer, node], layer.inputs, [values[0].x], images)
        return self._alone([node], node.inputs, values, images)

    def _alone(self, nodes: Sequence[Node], names: Sequence[str], values: Sequence[Value], images: int) -> Value:
        """The last node's value: as a plan where one covers the nodes, else by the reference."""
        key, segments = self._compiled(nodes, {nodes[-1].name})
        (plan, *rest) = segments
        if isinstance(plan, Plan) and not rest:
            found = self._run_plan(key, 0, plan, dict(zip(names, values, strict=True)), images)
            if found is not None:
                return found[nodes[-1].name]
        for node in nodes:
            values = [self._by_reference(node, values, images)]
        return self.small(nodes[-1].name, values[0])

    def _softmax_of_integers(self, node: Node, x: Value) -> Value | None:
        """Of masked logits."""
        placement, out = self.network.placements.get(node.name), self.network.activations.get(node.name)
        if not isinstance(x, Codes) or placement is None or placement.kind != "uniform" or out is None:
            return None
        if x.integers.dtype != torch.int32 or x.integers.shape[-1] > MAX_TOKENS:
            return None
        logits, units = x.integers.contiguous(), self._softmax_table(node, x.scale, "uniform").units
        codes = torch.empty(logits.shape, dtype=torch.uint8)
        self.kernels.landscape_softmax(
            _I(torch.get_num_threads()), _P(logits.data_ptr()), _N(logits.numel() // logits.shape[-1]),
            _N(logits.shape[-1]), _P(units.data_ptr()), _N(units.numel() - 1), self.quantizer(node.name).pointer,
            _P(codes.data_ptr()),
        )  # fmt: skip
        return RawCodes(codes, int(out.zero_point), float(out.scale))

    def _gated(self, node: Node, values: Sequence[Value]) -> Value | None:
        """Images times a number for each of their channels, in either order."""
        x, y = values if node.shape == self.network.graph[node.inputs[0]].shape else reversed(values)
        out = self.network.activations.get(node.name)
        if not (isinstance(x, RawCodes) and isinstance(y, RawCodes)) or out is None or out.exponents is not None:
            return None
        if x.codes.ndim != 4 or y.codes.shape != (*x.codes.shape[:2], 1, 1):
            return None
        images, channels, height, width = x.codes.shape
        rows, gates = x.codes.permute(0, 2, 3, 1).contiguous(), y.codes.reshape(images, channels).contiguous()
        codes = torch.empty_like(rows)
        self.kernels.landscape_gated(
            _I(torch.get_num_threads()), _N(images), _N(height * width), _N(channels), _P(rows.data_ptr()),
            _I(x.zero_point), ctypes.c_double(x.scale), _P(gates.data_ptr()), _I(y.zero_point),
            ctypes.c_double(y.scale), self.quantizer(node.name).pointer, _P(codes.data_ptr()),
        )  # fmt: skip
        return RawCodes(codes.permute(0, 3, 1, 2), int(out.zero_point), float(out.scale))

    def _by_reference(self, node: Node, values: Sequence[Value], images: int) -> Value:
        plain = [Codes(v.integers.double(), v.scale) if isinstance(v, RawCodes | SmallIntegers) else v for v in values]
        return super().evaluate(node, plain, images)

    def _view(self, node: Node, x: Value) -> Value | None:
        if node.attrs["call"] is functional.pad:
            return None
        if isinstance(x, RawCodes):
            return RawCodes(self.apply(node, [x.codes], 0), x.zero_point, x.scale)
        if isinstance(x, SmallIntegers):
            return SmallIntegers(self.apply(node, [x.integers], 0), x.scale)
        return None


def _float64(value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _small_enough(integers: Tensor) -> Tensor:
    """Pixels on the grid of exact images as int32."""
    if bool((integers.abs() >= 2**31).any()):
        raise ValueError("normalised pixels beyond 128; expected standard deviations that are not so small")
    return integers.to(torch.int32)
