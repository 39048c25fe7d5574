"""The native arithmetic: the reference's values through compiled kernels, on small integers."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.native import parameters
from landscape.engine.native.bound import BoundPlan
from landscape.engine.native.build import chosen_instruction_set, load
from landscape.engine.native.builder import Segment
from landscape.engine.native.clamps import codes_of_clamp, is_clamp
from landscape.engine.native.compiling import compile_plans
from landscape.engine.native.convolutions import convolution_struct, pixels_of_period, pooling_struct, repeated
from landscape.engine.native.cover_windows import Geometry
from landscape.engine.native.headers import Runs
from landscape.engine.native.plan import PlannedStep
from landscape.engine.native.structs import (
    Held,
    PackedWeight,
    layer_struct,
    operand_struct,
    pack_weight,
    quantizer_struct,
    steps_struct,
)
from landscape.engine.native.values import Deferred, RawCodes, SmallIntegers
from landscape.engine.native.weights import PreparedWeight, moments_of, prepare_weight
from landscape.engine.reference import EXACT_INPUT_STEP, Reference, _function
from landscape.engine.values import Codes, Value
from landscape.graph import Node
from landscape.images import ImageSet
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork
from landscape.quant.qparams import CodeRange
from landscape.quant.softmax import MAX_TOKENS
from landscape.quant.steps import StepTable, step_table

_LARGEST_DEPTH = 33025
"""Products summed in int32: depth * 255 * 255 stays below 2^31."""

_LARGEST_NORM = 46_500
"""Channels for which a LayerNorm's sums of int16 codes are exact, see `landscape.quant.layer_norm`."""

_P, _I, _N, _D = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double


class Native(Reference):
    """Like `Reference`, with the same codes, faster. What the kernels do not cover is left to it, node by node.

    Native: linear layers, convolutions without groups, products of activations, uniform softmax, float LayerNorm,
    sums, concatenations, activation functions right behind a layer, views. Values between them are uint8 or int16.

    Args:
        network: Parameters of all quantizers.
        sibling: Arithmetic of a network that differs in few parameters; what is equal is shared, not computed anew.

    Raises:
        NativeUnavailable: No compiler, or the instruction set asked for is not there.
    """

    name = "native"

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None) -> None:
        super().__init__(network, sibling)
        self.kernels = self._kernels = load(chosen_instruction_set())
        self._packed: dict[str, PackedWeight] = {}
        self._layers: dict[tuple[str, float, int], Held] = {}
        self._quantizers: dict[str, Held] = {}
        self._grids: dict[str, Held] = {}
        self._terms: dict[float, Tensor] = {}
        self._constants: dict[str, Value] = {}
        self._plans: dict[Any, list[Segment]] = {}
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self._prepared: dict[str, PreparedWeight] = {}
        self._parameters: dict[str, tuple[tuple[str, ...], Held]] = {}
        self._quantized_constants: dict[tuple[str, str], Tensor] = {}
        if isinstance(sibling, Native):
            self._share(sibling)
        self._bound: dict[tuple[Any, int], BoundPlan] = {}
        readers = network.graph.consumers()
        self._fused = {
            node.inputs[0]
            for node in network.graph
            if node.op == "unary" and node.name in network.activations and readers[node.inputs[0]] == [node.name]
        }

    def _share(self, other: Native) -> None:
        network, old = self.network, other.network
        same_weights = {k for k in network.weights if network.weights[k] is old.weights[k]}
        same = {k for k in network.activations if network.activations[k] is old.activations[k]}
        self._packed = {k: v for k, v in other._packed.items() if k in same_weights}
        self._layers = {k: v for k, v in other._layers.items() if k[0] in same_weights}
        self._quantizers = {k: v for k, v in other._quantizers.items() if k in same}
        self._grids = {k: v for k, v in other._grids.items() if k in same}
        self._constants = {k: v for k, v in other._constants.items() if k in same}
        self._terms = other._terms
        self._plans, self._moments = other._plans, other._moments
        self._prepared = {k: v for k, v in other._prepared.items() if k in same_weights}
        unchanged = {f"{name}.weight" for name in same_weights} | {f"{name}.output" for name in same}
        if network.exact_input == old.exact_input and "input" not in network.activations:
            unchanged.add("input.output")
        self._parameters = {k: v for k, v in other._parameters.items() if unchanged.issuperset(v[0])}
        self._quantized_constants = {k: v for k, v in other._quantized_constants.items() if k[1] in same}

    def run_nodes(
        self, nodes: Sequence[Node], values: Mapping[str, Value], keep: Collection[str], images: int
    ) -> dict[str, Value]:
        """Values of the kept nodes, many nodes at once, image by image; see `RunsNodes` of the evaluator."""
        key = (tuple(node.name for node in nodes), frozenset(keep))
        if key not in self._plans:
            self._plans[key] = compile_plans(self.network, nodes, keep)
        found = dict(values)
        for index, segment in enumerate(self._plans[key]):
            if isinstance(segment, Node):
                inputs = [self._value_of(name, found, images) for name in segment.inputs]
                found[segment.name] = self.evaluate(segment, inputs, images)
                continue
            if (key, index) not in self._bound:
                self._bound[key, index] = BoundPlan(self, segment)
            found.update(self._bound[key, index].run(found, images))
        return {name: found[name] for name in keep}

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
        graph = self.network.graph
        if not self._uniform(graph["input"]) and not self.network.exact_input:
            return super().pixels(images, chosen)
        pixels = images.pixels[chosen].contiguous()
        count, channels, height, width = pixels.shape
        all_pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 256).expand(1, channels, 1, 256)
        found = self.input(replace(images, pixels=all_pixels).normalized(dtype=torch.float64))
        assert isinstance(found, Codes)
        table = found.held.contiguous()
        out = torch.empty((count, height, width, channels), dtype=table.dtype)
        self._kernels.landscape_pixels(
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
        result: Value | None = None
        if node.op in ("linear", "conv2d"):
            result = self._layer(node, values[0])
        elif node.op == "unary":
            result = self._activation(node, values[0])
        elif node.op == "matmul":
            result = self._products(node, values[0], values[1])
        elif node.op == "softmax":
            result = self._uniform_softmax(node, values[0])
        elif node.op == "layer_norm":
            result = self._norm(node, values[0])
        elif node.op == "add":
            result = self._sum(node, values[0], values[1])
        elif node.op == "cat":
            result = self._joined(node, values)
        elif node.op == "view":
            result = self._view(node, values[0])
        if result is None:
            plain = [
                Codes(v.integers.double(), v.scale) if isinstance(v, RawCodes | SmallIntegers) else v for v in values
            ]
            result = super().evaluate(node, plain, images)
        return self._small(node, result)

    def _small(self, node: Node, value: Value) -> Value:
        """A result of the reference as raw codes, where it has a uniform quantizer."""
        if not isinstance(value, Codes) or isinstance(value, RawCodes | SmallIntegers | Deferred):
            return value
        quantizer = self.network.activations.get(node.name)
        if quantizer is None or value.scale != float(quantizer.scale):
            return value
        if quantizer.exponents is not None:
            return SmallIntegers(value.integers.to(torch.int16), value.scale)
        zero = int(quantizer.zero_point)
        return RawCodes((value.integers + zero).to(torch.uint8), zero, value.scale)

    def _view(self, node: Node, x: Value) -> Value | None:
        if node.attrs["call"] is functional.pad:
            return None
        if isinstance(x, RawCodes):
            return RawCodes(self.apply(node, [x.codes], 0), x.zero_point, x.scale)
        if isinstance(x, SmallIntegers):
            return SmallIntegers(self.apply(node, [x.integers], 0), x.scale)
        return None

    def _layer(self, node: Node, x: Value) -> Value | None:
        if not isinstance(x, RawCodes) or node.name not in self.network.weights or node.attrs.get("groups", 1) != 1:
            return None
        if node.weight is None or node.weight[0].numel() > _LARGEST_DEPTH:
            return None
        if node.name in self._fused:
            return Deferred(x, lambda: self._plain(node, x))
        if node.name not in self.network.activations:
            return self._plain(node, x)
        quantizer = self.network.activations[node.name]
        if quantizer.exponents is None:
            out = self._run_layer(node, x, torch.uint8, self._quantizer(node.name), None)
            return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))
        if node.op == "conv2d":
            return None
        out = self._run_layer(node, x, torch.int16, self._quantizer(node.name), None)
        return SmallIntegers(out, float(quantizer.scale))

    def _plain(self, node: Node, x: RawCodes) -> Tensor:
        return self._run_layer(node, x, torch.float64, None, None)

    def _activation(self, node: Node, x: Value) -> Value | None:
        if not isinstance(x, Deferred):
            return None
        quantizer = self.network.activations[node.name]
        if quantizer.exponents is not None:
            return None
        if node.name not in self._grids:
            self._grids[node.name] = steps_struct(self._kernels, self._step_table(node))
        layer = self.network.graph[node.inputs[0]]
        out = self._run_layer(layer, x.x, torch.uint8, None, self._grids[node.name])
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def _run_layer(
        self, node: Node, x: RawCodes, dtype: torch.dtype, quantizer: Held | None, steps: Held | None
    ) -> Tensor:
        """A layer of a batch: its codes, or its float64 value where neither quantizer nor steps are given."""
        assert node.weight is not None
        rows = _windows(node, x) if node.op == "conv2d" else x.codes.contiguous()
        out = torch.empty((*rows.shape[:-1], node.weight.shape[0]), dtype=dtype)
        plain = dtype == torch.float64
        self._kernels.landscape_linear(
            _I(torch.get_num_threads()), _P(rows.data_ptr()), _N(rows.numel() // rows.shape[-1]),
            self._layer_struct(node, x).pointer, quantizer.pointer if quantizer else None,
            steps.pointer if steps else None, _P(out.data_ptr() if plain else None),
            _P(None if plain else out.data_ptr()),
        )  # fmt: skip
        return out.movedim(-1, 1) if node.op == "conv2d" else out

    def _layer_struct(self, node: Node, x: RawCodes) -> Held:
        key = (node.name, x.scale, x.zero_point)
        if key not in self._layers:
            operand = self.operand(node)
            if node.name not in self._packed:
                zero_point = self.network.weights[node.name].zero_point
                self._packed[node.name] = pack_weight(self._kernels, operand, zero_point)
            self._layers[key] = layer_struct(self._packed[node.name], operand, x.scale, x.zero_point)
        return self._layers[key]

    def _products(self, node: Node, a: Value, b: Value) -> Value | None:
        if not isinstance(a, RawCodes) or not isinstance(b, RawCodes) or not self._uniform(node):
            return None
        rows, depth, columns = a.codes.shape[-2], a.codes.shape[-1], b.codes.shape[-1]
        if not 3 <= a.codes.ndim <= 4 or a.codes.shape[:-2] != b.codes.shape[:-2] or depth > _LARGEST_DEPTH:
            return None
        quantizer = self.network.activations[node.name]
        out = torch.empty((*a.codes.shape[:-1], columns), dtype=torch.uint8)
        first, second, third = (t if t.ndim == 4 else t.unsqueeze(0) for t in (a.codes, b.codes, out))
        strides = (_N * 11)(*first.stride(), *second.stride(), *third.stride()[:3])
        self._kernels.landscape_matmul(
            _I(torch.get_num_threads()), _P(first.data_ptr()), _P(second.data_ptr()), strides,
            _N(first.shape[0]), _N(first.shape[1]), _N(rows), _N(depth), _N(columns), _I(a.zero_point),
            _I(b.zero_point), _D(a.scale * b.scale * node.attrs["scale"]), self._quantizer(node.name).pointer,
            _P(out.data_ptr()),
        )  # fmt: skip
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def _uniform_softmax(self, node: Node, x: Value) -> Value | None:
        placement = self.network.placements.get(node.name)
        if not isinstance(x, RawCodes) or placement is None or placement.kind != "uniform":
            return None
        codes, quantizer = x.codes.contiguous(), self.network.activations[node.name]
        width = codes.shape[-1]
        if width > MAX_TOKENS:
            return None
        if x.scale not in self._terms:
            terms = self._softmax_table(node, x.scale, "uniform").terms
            self._terms[x.scale] = terms[torch.arange(256).clamp(max=terms.numel() - 1)].contiguous()
        out = torch.empty_like(codes)
        self._kernels.landscape_softmax(
            _I(torch.get_num_threads()), _P(codes.data_ptr()), _N(codes.numel() // width), _N(width),
            _P(self._terms[x.scale].data_ptr()), self._quantizer(node.name).pointer, _P(out.data_ptr()),
        )  # fmt: skip
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def _norm(self, node: Node, x: Value) -> Value | None:
        operand = _operand(x)
        if operand is None or self.network.scheme.layer_norm != "float" or not self._uniform(node):
            return None
        assert node.weight is not None and node.bias is not None and isinstance(x, Codes)
        shape, width = operand.tensors[0].shape, operand.tensors[0].shape[-1]
        if width > _LARGEST_NORM:
            return None
        quantizer, scale = self.network.activations[node.name], torch.tensor(x.scale, dtype=torch.float64)
        offset = float(node.attrs["eps"] * width**2 / (scale * scale))
        weight, bias = node.weight.double().contiguous(), node.bias.double().contiguous()
        out = torch.empty(shape, dtype=torch.uint8)
        self._kernels.landscape_layer_norm(
            _I(torch.get_num_threads()), operand.pointer, _N(out.numel() // width), _N(width), _P(weight.data_ptr()),
            _P(bias.data_ptr()), _D(offset), self._quantizer(node.name).pointer, _P(out.data_ptr()),
        )  # fmt: skip
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def _sum(self, node: Node, a: Value, b: Value) -> Value | None:
        first, second = _operand(a), _operand(b)
        if first is None or second is None:
            return None
        shape, other = first.tensors[0].shape, second.tensors[0].shape
        stretched = other != shape and other == (1, *shape[1:])
        return self._elementwise(node, first, second) if other == shape or stretched else None

    def _elementwise(self, node: Node, first: Held, second: Held | None) -> Value | None:
        quantizer, shape = self.network.activations.get(node.name), first.tensors[0].shape
        if quantizer is None:
            return None
        ptf = quantizer.exponents is not None
        if ptf and quantizer.channel_axis not in (-1, len(shape) - 1):
            return None
        out = torch.empty(shape, dtype=torch.int16 if ptf else torch.uint8)
        self._kernels.landscape_add(
            _I(torch.get_num_threads()), first.pointer, second.pointer if second else None,
            _N(out.numel() // shape[-1]), _N(shape[-1]), self._quantizer(node.name).pointer, _P(out.data_ptr()),
        )  # fmt: skip
        if ptf:
            return SmallIntegers(out, float(quantizer.scale))
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def _joined(self, node: Node, values: Sequence[Value]) -> Value | None:
        """Parts are quantized, then joined, which is the same as the other way around."""
        if not self._uniform(node):
            return None
        parts = []
        for value in values:
            operand = _operand(value)
            if operand is not None:
                part: Value | None = self._elementwise(node, operand, None)
            else:
                part = None if isinstance(value, Codes) else self._quantize(node.name, value)
            if not isinstance(part, RawCodes):
                return None
            parts.append(part)
        joined = torch.cat([part.codes for part in parts], node.attrs["dim"])
        return RawCodes(joined, parts[0].zero_point, parts[0].scale)

    def _quantize(self, name: str, value: Tensor) -> Codes:
        quantizer = self.network.activations[name]
        if quantizer.exponents is not None:
            return super()._quantize(name, value)
        value = value.contiguous()
        out = torch.empty(value.shape, dtype=torch.uint8)
        self._kernels.landscape_quantize(
            _I(torch.get_num_threads()), _P(value.data_ptr()), _N(value.numel()), self._quantizer(name).pointer,
            _P(out.data_ptr()),
        )  # fmt: skip
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    # Parameters of a plan's steps.

    def bind(self, step: PlannedStep) -> Held:
        """The parameters of a step; made once, and shared with siblings that have the same quantizers."""
        if step.name not in self._parameters:
            self._parameters[step.name] = (step.depends, step.make(self))
        return self._parameters[step.name][1]

    def constant_codes(self, name: str, source: str) -> Tensor:
        """Codes of a constant by a quantizer."""
        if (name, source) not in self._quantized_constants:
            codes = self._quantize(source, self.apply(self.network.graph[name], [], 0).double())
            assert isinstance(codes, RawCodes)
            self._quantized_constants[name, source] = codes.codes.contiguous()
        return self._quantized_constants[name, source]

    def _prepare(self, node: Node) -> PreparedWeight:
        if node.name not in self._prepared:
            corrected = self.network.scheme.bias_correction == "weight"
            if corrected and node.name not in self._moments:
                self._moments[node.name] = moments_of(node)
            self._prepared[node.name] = prepare_weight(
                self._kernels, node, self.network.weights[node.name], self.network.biases.get(node.name, node.bias),
                self._moments[node.name] if corrected else None,
            )  # fmt: skip
        return self._prepared[node.name]

    def source_quantizer(self, name: str) -> ActivationQuantizer:
        """What gave a value's numbers their meaning: a quantizer, or the fine grid of images that are kept exact."""
        if name in self.network.activations:
            return self.network.activations[name]
        return ActivationQuantizer(8, torch.tensor(EXACT_INPUT_STEP, dtype=torch.float64), torch.zeros(()).double())

    def layer_parameters(
        self, node: Node, last: Node, source: str, added: str | None, geometry: Geometry | None
    ) -> Held:
        """Of a layer that ends with the value of `last`: its own, an activation function's, or a residual sum's.

        Args:
            node: The layer.
            last: Where it ends.
            source: Whose quantizer gave its input.
            added: The same of the other summand.
            geometry: Of a convolution.
        """
        activations, weight = self.network.activations, self._prepare(node)
        x, out = self.source_quantizer(source), activations[last.name]
        times = 1 if geometry is None else pixels_of_period(geometry, weight.gain.numel())
        constants = weight if times == 1 else repeated(weight, times)
        limits = codes_of_clamp(last, out) if is_clamp(last) else None
        if added is not None:
            channels = constants.gain.numel()
            made = parameters.summed_layer(
                constants, x, activations[node.name], activations[added], out, channels, limits
            )
        elif last.op == "unary" and limits is None:
            made = parameters.stepped_layer(constants, x, out, _function(last), self._step_table(last))
        else:
            made = parameters.quantized_layer(constants, x, out, limits)
        if geometry is None:
            return made
        zero = 0 if geometry.wide else int(x.zero_point)
        return convolution_struct(self._kernels, made, weight, geometry, zero, times)

    def _step_table(self, node: Node) -> StepTable:
        if node.name not in self._steps:
            quantizer = self.network.activations[node.name]
            self._steps[node.name] = step_table(
                _function(node), quantizer.scale, quantizer.zero_point, CodeRange(quantizer.bits)
            )
        return self._steps[node.name]

    def norm_parameters(self, node: Node, source: str) -> Held:
        """Of a LayerNorm."""
        return parameters.norm_struct(node, self.network.activations[source], self.network.activations[node.name])

    def sum_parameters(self, a: str, b: str | None, name: str, channels: int) -> Held:
        """Of a sum, or of a new quantization where there is no b."""
        activations, node = self.network.activations, self.network.graph[name]
        limits = codes_of_clamp(node, activations[name]) if is_clamp(node) else None
        second = None if b is None else activations[b]
        return parameters.sum_struct(activations[a], second, activations[name], channels, limits)

    def attention_parameters(
        self, sizes: tuple[int, int, int], sources: tuple[str, str, str], logits: Node, softmax: Node, output: Node
    ) -> Held:
        """Of an attention step."""
        activations = self.network.activations
        q, k, v = (activations[name] for name in sources)
        outs = (activations[logits.name], activations[softmax.name], activations[output.name])
        table = self._softmax_table(softmax, float(outs[0].scale), "uniform")
        factors = (logits.attrs["scale"], output.attrs["scale"])
        return parameters.attention_struct(sizes, (q, k, v), outs, factors, table)

    def gather_parameters(self, runs: Tensor, source: str, size: int) -> Held:
        """Of copied numbers of so many bytes."""
        zero = int(self.source_quantizer(source).zero_point) if size == 1 else 0
        return Held(Runs(runs.data_ptr(), runs.shape[0], size, zero), (runs,))

    def pooling_parameters(self, source: str, name: str | None, geometry: Geometry) -> Held:
        """Of an average with a node's quantizer, or without a name of the largest codes."""
        activations = self.network.activations
        return pooling_struct(activations[source], None if name is None else activations[name], geometry)

    def small(self, name: str, value: Value) -> Value:
        """A value as the kernels read it, where a quantizer gave its codes."""
        return self._small(self.network.graph.source(name), value)

    def _uniform(self, node: Node) -> bool:
        quantizer = self.network.activations.get(node.name)
        return quantizer is not None and quantizer.exponents is None

    def _quantizer(self, name: str) -> Held:
        if name not in self._quantizers:
            self._quantizers[name] = quantizer_struct(self.network.activations[name])
        return self._quantizers[name]


def _operand(x: Value) -> Held | None:
    if isinstance(x, RawCodes):
        return operand_struct(x.codes.contiguous(), x.zero_point, x.scale)
    if isinstance(x, SmallIntegers) and x.integers.dtype == torch.int16:
        return operand_struct(x.integers.contiguous(), 0, x.scale)
    return None


def _small_enough(integers: Tensor) -> Tensor:
    """Pixels on the grid of exact images as int32."""
    if bool((integers.abs() >= 2**31).any()):
        raise ValueError("normalised pixels beyond 128; expected standard deviations that are not so small")
    return integers.to(torch.int32)


def _windows(node: Node, x: RawCodes) -> Tensor:
    """What a convolution multiplies with its weight: (N, height, width, C kh kw), contiguous uint8."""
    assert node.weight is not None
    a = node.attrs
    (top, left), (down, right), (high, wide) = a["padding"], a["stride"], a["dilation"]
    codes = functional.pad(x.codes, (left, left, top, top), value=x.zero_point)
    kernel_height, kernel_width = node.weight.shape[-2:]
    windows = codes.unfold(2, high * (kernel_height - 1) + 1, down).unfold(3, wide * (kernel_width - 1) + 1, right)
    windows = windows[..., ::high, ::wide].permute(0, 2, 3, 1, 4, 5)
    return windows.reshape(*windows.shape[:3], -1).contiguous()
