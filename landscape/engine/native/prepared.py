"""What the kernels need of a network: packed weights, step tables, parameters of steps. Shared where it is the same."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.engine.clamps import codes_of_clamp, is_clamp
from landscape.engine.native import parameters
from landscape.engine.native.build import chosen_instruction_set, load
from landscape.engine.native.builder import Segment
from landscape.engine.native.convolutions import (
    convolution_struct,
    pixels_of_period,
    pooling_struct,
    repeated,
    resample_struct,
)
from landscape.engine.native.cover_windows import Geometry
from landscape.engine.native.headers import Runs, Table
from landscape.engine.native.plan import Constant, PlannedStep
from landscape.engine.native.structs import Held, in_rows, quantizer_struct
from landscape.engine.native.values import Deferred, RawCodes, SmallIntegers
from landscape.engine.native.weights import PreparedWeight, moments_of, prepare_weight
from landscape.engine.reference import EXACT_INPUT_STEP, Reference, _function
from landscape.engine.tables import code_table, pair_table
from landscape.engine.values import Codes, Value
from landscape.graph import Node
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork
from landscape.quant.qparams import CodeRange
from landscape.quant.steps import StepTable, step_table


class Prepared(Reference):
    """A network with what the kernels need of it.

    Args:
        network: Parameters of all quantizers.
        sibling: Arithmetic of a network that differs in few parameters; what is equal is shared, not computed anew.

    Raises:
        NativeUnavailable: No compiler, or the instruction set asked for is not there.
    """

    def __init__(self, network: QuantizedNetwork, sibling: Reference | None = None) -> None:
        super().__init__(network, sibling)
        self.kernels = load(chosen_instruction_set())
        self._quantizers: dict[str, Held] = {}
        self._constants: dict[str, Value] = {}
        self._plans: dict[Any, list[Segment]] = {}
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}
        self._prepared: dict[str, PreparedWeight] = {}
        self._parameters: dict[str, tuple[tuple[str, ...], Held]] = {}
        self._quantized_constants: dict[tuple[str, str, str], Tensor] = {}
        if isinstance(sibling, Prepared):
            self._share(sibling)

    def _share(self, other: Prepared) -> None:
        network, old = self.network, other.network
        same_weights = {k for k in network.weights if network.weights[k] is old.weights[k]}
        same = {k for k in network.activations if network.activations[k] is old.activations[k]}
        self._quantizers = {k: v for k, v in other._quantizers.items() if k in same}
        self._constants = {k: v for k, v in other._constants.items() if k in same}
        self._plans, self._moments = other._plans, other._moments
        self._prepared = {k: v for k, v in other._prepared.items() if k in same_weights}
        unchanged = {f"{name}.weight" for name in same_weights} | {f"{name}.output" for name in same}
        if "input" not in network.activations:
            unchanged.add("input.output")
        for node in network.graph:  # in order, so that what a product with a number multiplies comes before it
            if node.op == "scale" and f"{network.graph.source(node.inputs[0]).name}.output" in unchanged:
                unchanged.add(f"{node.name}.output")
        self._parameters = {k: v for k, v in other._parameters.items() if unchanged.issuperset(v[0])}
        self._quantized_constants = {k: v for k, v in other._quantized_constants.items() if k[1] in same}

    def _quantize(self, name: str, value: Tensor) -> Codes:
        quantizer = self.network.activations[name]
        if quantizer.exponents is not None:
            return super()._quantize(name, value)
        value = value.contiguous()
        out = torch.empty(value.shape, dtype=torch.uint8)
        self.kernels.landscape_quantize(
            ctypes.c_int(torch.get_num_threads()), ctypes.c_void_p(value.data_ptr()), ctypes.c_int64(value.numel()),
            self.quantizer(name).pointer, ctypes.c_void_p(out.data_ptr()),
        )  # fmt: skip
        return RawCodes(out, int(quantizer.zero_point), float(quantizer.scale))

    def quantizer(self, name: str) -> Held:
        """The quantizer of a node for the kernels."""
        if name not in self._quantizers:
            self._quantizers[name] = quantizer_struct(self.network.activations[name])
        return self._quantizers[name]

    def small(self, name: str, value: Value) -> Value:
        """A value of the reference as the kernels read it, where a quantizer gave its codes."""
        if not isinstance(value, Codes) or isinstance(value, RawCodes | SmallIntegers | Deferred):
            return value
        quantizer = self.network.activations.get(self.network.graph.source(name).name)
        if quantizer is None or value.scale != float(quantizer.scale):
            return value
        if quantizer.exponents is not None:
            return SmallIntegers(value.integers.to(torch.int16), value.scale)
        zero = int(quantizer.zero_point)
        return RawCodes((value.integers + zero).to(torch.uint8), zero, value.scale)

    def bind(self, step: PlannedStep) -> Held:
        """The parameters of a step; made once, and shared with siblings that have the same quantizers."""
        if step.name not in self._parameters:
            self._parameters[step.name] = (step.depends, step.make(self))
        return self._parameters[step.name][1]

    def constant_codes(self, constant: Constant) -> Tensor:
        """Codes of a constant by a quantizer."""
        key = (constant.name, constant.source, constant.digest)
        if key not in self._quantized_constants:
            found = self._quantize(constant.source, self.apply(self.network.graph[constant.name], [], 0).double())
            assert isinstance(found, RawCodes)
            codes = found.codes.contiguous()
            self._quantized_constants[key] = codes if constant.order is None else codes.reshape(-1)[constant.order]
        return self._quantized_constants[key]

    def _prepare(self, node: Node) -> PreparedWeight:
        if node.name not in self._prepared:
            corrected = self.network.scheme.bias_correction == "weight"
            if corrected and node.name not in self._moments:
                self._moments[node.name] = moments_of(node)
            self._prepared[node.name] = prepare_weight(
                self.kernels, node, self.network.weights[node.name], self.network.biases.get(node.name, node.bias),
                self._moments[node.name] if corrected else None,
            )  # fmt: skip
        return self._prepared[node.name]

    def source_quantizer(self, name: str) -> ActivationQuantizer:
        """What gave a value's numbers their meaning: a quantizer, or the fine grid of images that are kept exact.

        A product with a number keeps codes and gives them another scale; with a negative one code c turns into 255 - c.
        """
        if name in self.network.activations:
            return in_rows(self.network.activations[name])
        node = self.graph[name]
        if node.op == "scale":
            before, factor = self.source_quantizer(self.graph.source(node.inputs[0]).name), node.attrs["factor"]
            zero_point = before.zero_point if factor > 0 else 255.0 - before.zero_point
            return replace(before, scale=before.scale * abs(factor), zero_point=zero_point)
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
        x, out = self.source_quantizer(source), activations.get(last.name)
        times = 1 if geometry is None else pixels_of_period(geometry, weight.gain.numel())
        constants = weight if times == 1 else repeated(weight, times)
        if geometry is not None and out is not None and out.exponents is not None:
            out = replace(in_rows(out), exponents=out.exponents.repeat(times))
        limits = codes_of_clamp(last, out) if out is not None and is_clamp(last) else None
        if out is None:
            made = parameters.plain_layer(constants, x)
        elif added is not None:
            channels = constants.gain.numel()
            made = parameters.summed_layer(
                constants, x, activations[node.name], self.source_quantizer(added), out, channels, limits
            )
        elif last.op == "unary" and limits is None:
            made = parameters.stepped_layer(constants, x, out, _function(last), self._step_table(last))
        else:
            made = parameters.quantized_layer(constants, x, out, limits)
        if geometry is None:
            return made
        zero = 0 if geometry.wide else int(x.zero_point)
        return convolution_struct(self.kernels, made, weight, geometry, zero, times)

    def _step_table(self, node: Node) -> StepTable:
        if node.name not in self._steps:
            quantizer = self.network.activations[node.name]
            self._steps[node.name] = step_table(
                _function(node), quantizer.scale, quantizer.zero_point, CodeRange(quantizer.bits)
            )
        return self._steps[node.name]

    def norm_parameters(self, node: Node, source: str) -> Held:
        """Of a LayerNorm or RMS norm."""
        x, out = self.source_quantizer(source), self.network.activations[node.name]
        integer = node.op == "layer_norm" and self.network.scheme.layer_norm == "integer"
        return parameters.norm_struct(node, x, out, integer)

    def sum_parameters(self, a: str, b: str | None, name: str, channels: int) -> Held:
        """Of a sum, or of a new quantization where there is no b."""
        activations, node = self.network.activations, self.network.graph[name]
        limits = codes_of_clamp(node, activations[name]) if is_clamp(node) else None
        first, second = self.source_quantizer(a), None if b is None else self.source_quantizer(b)
        return parameters.sum_struct(first, second, in_rows(activations[name]), channels, limits)

    def attention_parameters(
        self, sizes: tuple[int, int, int], sources: tuple[str, str, str], logits: Node, softmax: Node, output: Node
    ) -> Held:
        """Of an attention step."""
        activations = self.network.activations
        q, k, v = (self.source_quantizer(name) for name in sources)
        outs = (activations[logits.name], activations[output.name])
        placement, scale = self.network.placements[softmax.name], float(outs[0].scale)
        if placement.kind == "uniform":
            chances = activations[softmax.name]
            middle = parameters.softmax_struct(self._softmax_table(softmax, scale, "uniform"), chances), chances
        else:
            middle = parameters.log_softmax(self._softmax_table(softmax, scale, "log2"), placement.bits)
        factors = (logits.attrs["scale"], output.attrs["scale"])
        return parameters.attention_struct(sizes, (q, k, v), outs, factors, middle)

    def softmax_parameters(self, node: Node, source: str) -> Held:
        """Of a softmax by itself."""
        activations = self.network.activations
        table = self._softmax_table(node, float(self.source_quantizer(source).scale), "uniform")
        return parameters.softmax_struct(table, activations[node.name])

    def product_parameters(
        self, node: Node, last: Node, sources: tuple[str, str], sizes: tuple[int, int, int, int], columns: bool
    ) -> Held:
        """Of products of matrices that end with the value of `last`: their own, or an activation function's.

        Args:
            node: The product.
            last: Where it ends.
            sources: Whose quantizers gave the operands.
            sizes: How many, rows, depth, columns.
            columns: Whether the second's numbers lie side by side along its columns.
        """
        (a, b), out = (self.source_quantizer(name) for name in sources), self.network.activations[last.name]
        limits = codes_of_clamp(last, out) if is_clamp(last) else None
        steps = last.op == "unary" and limits is None
        stepped = (_function(last), self._step_table(last)) if steps else None
        return parameters.matrices_struct(sizes, (a, b), out, node.attrs["scale"], columns, stepped, limits)

    def gather_parameters(self, runs: Tensor, source: str, size: int) -> Held:
        """Of copied numbers of so many bytes."""
        zero = int(self.source_quantizer(source).zero_point) if size == 1 else 0
        return Held(Runs(runs.data_ptr(), runs.shape[0], size, zero), (runs,))

    def pooling_parameters(self, source: str, name: str | None, geometry: Geometry) -> Held:
        """Of an average with a node's quantizer, or without a name of the largest codes."""
        activations = self.network.activations
        return pooling_struct(self.source_quantizer(source), None if name is None else activations[name], geometry)

    def resample_parameters(self, node: Node, source: str, image: tuple[int, int, int, int]) -> Held:
        """Of interpolation; width, channels, steps from row to row and from column to column of the input."""
        return resample_struct(node, self.source_quantizer(source), self.network.activations[node.name], image)

    def table_parameters(self, nodes: tuple[Node, ...], source: str) -> Held:
        """Of operations on single codes."""
        x, out = self.source_quantizer(source), self.source_quantizer(nodes[-1].name)
        return _table(code_table(self, nodes, int(x.zero_point), float(x.scale)) + out.zero_point)

    def pair_parameters(self, nodes: tuple[Node, ...], sources: tuple[str, str]) -> Held:
        """Of operations on two codes."""
        a, b = ((int(x.zero_point), float(x.scale)) for x in map(self.source_quantizer, sources))
        return _table(pair_table(self, nodes, a, b) + self.network.activations[nodes[-1].name].zero_point)


def _table(codes: Tensor) -> Held:
    small = codes.to(torch.uint8).contiguous()
    return Held(Table(small.data_ptr(), small.shape[0]), (small,))
