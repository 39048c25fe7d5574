"""Plans: nodes of a graph as a flat list of steps that one call takes many images through (see plan.h).

Patterns of nodes become one step: a layer with the quantizer, the activation function or the residual sum behind it;
the two products and the softmax of attention. Views cost nothing where strides can say what they do. A plan depends on
the graph and on where quantizers stand, not on any scale: scales come in when a network's parameters are bound to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape.engine.native import layout as layouts
from landscape.engine.native.layout import Layout
from landscape.engine.native.structs import Held
from landscape.graph import Node
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork
from landscape.quant.softmax import MAX_TOKENS

if TYPE_CHECKING:
    from landscape.engine.native.engine import Native

LARGEST_DEPTH = 33025
"""Products summed in int32: depth * 255 * 255 stays below 2^31."""

LARGEST_NORM = 46_500
"""Channels for which a LayerNorm's sums of int16 codes are exact, see `landscape.quant.layer_norm`."""

LAYER, NORM, ATTENTION, SUM, GATHER, PATCHES = range(6)
"""See `Kind` in plan.h."""


@dataclass(frozen=True)
class Place:
    """A value within a plan.

    Attributes:
        buffer: Which.
        layout: Where in it.
        source: The node whose quantizer gave its codes.
        wide: int16 integers (power-of-two factors) in place of codes.
    """

    buffer: int
    layout: Layout
    source: str
    wide: bool

    @property
    def bytes(self) -> int:
        """Of one number."""
        return 2 if self.wide else 1


@dataclass
class PlannedStep:
    """A step without its parameters.

    Attributes:
        kind: As in plan.h.
        inputs: Buffers.
        output: Buffer.
        geometry: The numbers g of plan.h.
        name: Of the parameters; steps of the same name have the same.
        depends: Nodes whose weight or activation quantizers the parameters depend on.
        make: Makes the parameters for a network's arithmetic.
    """

    kind: int
    inputs: Sequence[int]
    output: int
    geometry: Sequence[int]
    name: str
    depends: tuple[str, ...]
    make: Callable[[Native], Held | Tensor]


@dataclass
class Plan:
    """Steps from given values to wanted ones.

    Attributes:
        steps: In order.
        sizes: Bytes of each buffer, for one image.
        given: Places of the values that must be there, by node.
        constants: Buffers that hold a constant's codes: node, and the node whose quantizer gives them.
        wanted: Places of the values that are to be there afterwards.
    """

    steps: list[PlannedStep] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    given: dict[str, Place] = field(default_factory=dict)
    constants: dict[int, tuple[str, str]] = field(default_factory=dict)
    wanted: dict[str, Place] = field(default_factory=dict)

    def offsets(self) -> tuple[dict[int, int], int]:
        """Places for the buffers in between, which share memory where their lives do not overlap; and bytes in all."""
        outside = {place.buffer for place in (*self.given.values(), *self.wanted.values())} | set(self.constants)
        lives: dict[int, tuple[int, int]] = {}
        for index, step in enumerate(self.steps):
            for buffer in (*step.inputs, step.output):
                if buffer >= 0 and buffer not in outside:
                    lives[buffer] = (lives.get(buffer, (index, 0))[0], index)
        offsets: dict[int, int] = {}
        total = 0
        for buffer, (born, dies) in sorted(lives.items(), key=lambda item: item[1][0]):
            others = [b for b in offsets if lives[b][1] >= born and lives[b][0] <= dies]
            taken = sorted((offsets[b], offsets[b] + _aligned(self.sizes[b])) for b in others)
            offset = 0
            for start, end in taken:
                if offset + _aligned(self.sizes[buffer]) <= start:
                    break
                offset = max(offset, end)
            offsets[buffer] = offset
            total = max(total, offset + _aligned(self.sizes[buffer]))
        return offsets, total


def _aligned(size: int) -> int:
    return -(-size // 64) * 64 + 64  # vectors may be read past the end


Segment = Plan | Node


def compile_plans(network: QuantizedNetwork, nodes: Sequence[Node], keep: Collection[str]) -> list[Segment]:
    """Nodes as plans, and in between as single nodes where no step covers them.

    Args:
        network: Says where quantizers stand; its scales do not matter.
        nodes: In order.
        keep: Names of the values that are wanted afterwards.
    """
    segments: list[Segment] = []
    builder = _Builder(network, nodes, keep)
    for index, node in enumerate(nodes):
        if node.op == "input" or builder.add(node):
            continue
        builder.finish(segments, nodes[index:])
        segments.append(node)
        builder = _Builder(network, nodes[index + 1 :], keep)
    builder.finish(segments, [])
    return segments


class _Builder:
    """Takes nodes one after another; `add` says whether a step, or part of one, covers it."""

    def __init__(self, network: QuantizedNetwork, nodes: Sequence[Node], keep: Collection[str]) -> None:
        self.network, self.graph = network, network.graph
        self.keep = set(keep)
        self.plan = Plan()
        self.places: dict[str, Place] = {}
        self.waiting: set[str] = set()  # covered together with a later node
        self.names = {node.name for node in nodes}
        self.readers = network.graph.consumers()

    # -- what nodes need

    def quantizer(self, name: str) -> ActivationQuantizer | None:
        return self.network.activations.get(name)

    def uniform(self, node: Node) -> bool:
        quantizer = self.quantizer(node.name)
        return quantizer is not None and quantizer.exponents is None

    def place(self, name: str) -> Place | None:
        """Where a value is; one from outside the plan becomes one of its inputs."""
        if name in self.places:
            return self.places[name]
        node = self.graph[name]
        if name in self.names or node.op in ("constant", "expand"):
            return None  # computed later, or within another step
        axis, source = layouts.batch_axis(node), self.graph.source(name)
        quantizer = self.quantizer(source.name)
        if axis is None or quantizer is None:
            return None
        place = self.new_place(layouts.in_order(node, axis), source.name)
        self.plan.given[name] = self.places[name] = place
        return place

    def constant(self, name: str, source: str, axis: int) -> Place | None:
        """A constant, in codes of a quantizer."""
        node, quantizer = self.graph[name], self.quantizer(source)
        origin = self.graph[node.inputs[0]] if node.op == "expand" else node
        if origin.op != "constant" or quantizer is None or quantizer.exponents is not None:
            return None
        shape = node.shape[1:]
        if axis != 0 or node.shape[0] not in (1, -1) or origin.shape != (1, *shape):
            return None
        image = torch.arange(math.prod(shape)).reshape(shape)
        place = self.new_place(layouts.dense(image, 0), source)
        self.plan.constants[place.buffer] = (origin.name, source)
        return place

    def new_place(self, layout: Layout, source: str, size: int | None = None) -> Place:
        quantizer = self.quantizer(source)
        wide = quantizer is not None and quantizer.exponents is not None
        self.plan.sizes.append(layout.size * (2 if wide else 1) if size is None else size)
        return Place(len(self.plan.sizes) - 1, layout, source, wide)

    def rows(self, place: Place, image: Tensor | None = None) -> tuple[Place, layouts.Strides]:
        """A value as rows along its last axis (or the last of `image`), copied where it does not lie so."""
        image = place.layout.image if image is None else image
        found = layouts.rows(image)
        if found is not None:
            return place, found
        order = image.reshape(-1, image.shape[-1])
        copy = self.new_place(layouts.dense(torch.arange(order.numel()).reshape(order.shape), 0), place.source)
        index = order.reshape(-1).to(torch.int32).contiguous()
        geometry = (index.numel(), place.bytes, 0)
        self.step(GATHER, (place.buffer,), copy.buffer, geometry, f"gather {copy.buffer}", (), lambda _: index)
        found = layouts.rows(copy.layout.image)
        assert found is not None
        return copy, found

    def step(
        self,
        kind: int,
        inputs: Sequence[int],
        output: int,
        geometry: Sequence[int],
        name: str,
        depends: tuple[str, ...],
        make: Callable[[Native], Held | Tensor],
    ) -> None:
        self.plan.steps.append(PlannedStep(kind, inputs, output, geometry, name, depends, make))

    # -- nodes

    def add(self, node: Node) -> bool:
        """Cover a node, or put it off until a later node covers it too."""
        if node.op in ("constant", "expand"):
            return node.name not in self.keep
        if node.op == "view":
            return self._view(node)
        if node.op in ("linear", "conv2d"):
            return self._layer(node)
        if node.op == "unary":
            return self._activation(node)
        if node.op == "layer_norm":
            return self._norm(node)
        if node.op == "add":
            return self._sum(node)
        if node.op == "cat":
            return self._joined(node)
        if node.op == "matmul":
            return self._product(node)
        return node.op == "softmax" and node.name in self.waiting

    def finish(self, segments: list[Segment], rest: Sequence[Node]) -> None:
        """Close the plan: what later nodes read, or what is to be kept, is wanted."""
        order = {node.name: index for index, node in enumerate(self.graph)}
        unfinished = sorted((self.graph[name] for name in self.waiting), key=lambda node: order[node.name])
        later = {name for node in (*rest, *unfinished) for name in node.inputs} | self.keep
        ready = {name: place for name, place in self.places.items() if name not in self.plan.given}
        self.plan.wanted = {name: place for name, place in ready.items() if name in later}
        if self.plan.steps or self.plan.wanted:
            segments.append(self.plan)
        segments.extend(unfinished)

    def _view(self, node: Node) -> bool:
        if self.graph.source(node.name).op == "constant":
            return node.name not in self.keep
        place = self.place(node.inputs[0])
        layout = None if place is None else place.layout.moved(node)
        if place is None or layout is None:
            return False
        self.places[node.name] = Place(place.buffer, layout, place.source, place.wide)
        return True

    def _sole_reader(self, node: Node) -> Node | None:
        readers = self.readers[node.name]
        if len(readers) != 1 or readers[0] not in self.names or node.name in self.keep:
            return None
        return self.graph[readers[0]]

    def _layer(self, node: Node) -> bool:
        """A layer by itself, or put off until its activation function or residual sum comes."""
        if node.name not in self.network.weights or node.attrs.get("groups", 1) != 1 or node.weight is None:
            return False
        x = self.place(node.inputs[0])
        if node.weight[0].numel() > LARGEST_DEPTH or layouts.batch_axis(node) is None or x is None or x.wide:
            return False
        reader = self._sole_reader(node)
        if node.name not in self.network.activations:
            if reader is None or reader.op != "unary" or not self.uniform(reader):
                return False
            self.waiting.add(node.name)
            return True
        if reader is not None and self._residual(node, reader):
            self.waiting.add(node.name)
            return True
        if not self.uniform(node) and not (node.op == "linear" and self._last_axis(node)):
            return False
        self._emit_layer(node, node, None)
        return True

    def _residual(self, node: Node, reader: Node) -> bool:
        """Whether a layer's only reader adds it to another value that is there already."""
        if node.op != "linear" or reader.op != "add" or not self.uniform(node) or set(reader.inputs) == {node.name}:
            return False
        other = next(name for name in reader.inputs if name != node.name)
        place = self.place(other)
        if self.quantizer(reader.name) is None or place is None or self.graph[other].shape != node.shape:
            return False
        return self.uniform(reader) or self._last_axis(reader)

    def _last_axis(self, node: Node) -> bool:
        """Whether the channels of a node's power-of-two factors lie along its last axis."""
        return self.network.activations[node.name].channel_axis in (-1, len(node.shape) - 1)

    def _emit_layer(self, node: Node, last: Node, other: Place | None) -> None:
        """A layer whose result is the value of `last`."""
        found = self.place(node.inputs[0])
        axis = layouts.batch_axis(last)
        assert found is not None and axis is not None and node.weight is not None
        if node.op == "conv2d":
            x, strides = self._windows(node, found)
            _, height, width = (length for index, length in enumerate(node.shape) if index != axis)
            outputs = node.weight.shape[0]
            image = torch.arange(outputs * height * width).reshape(height, width, outputs).permute(2, 0, 1)
            layout = layouts.dense(image, axis)
        else:
            x, strides = self.rows(found)
            layout = layouts.in_order(last, axis)
        out = self.new_place(layout, last.name)
        summand, other_strides = (None, None) if other is None else self.rows(other)
        row = out.bytes * node.weight.shape[0]
        geometry = [strides.sizes[0], strides.offset, strides.steps[0], 0, 0, 0, row]
        if summand is not None and other_strides is not None:
            geometry[3:5] = [other_strides.offset * summand.bytes, other_strides.steps[0] * summand.bytes]
        self.places[last.name] = out
        source, added = x.source, None if summand is None else summand.source
        depends: tuple[str, ...] = (f"{node.name}.weight", f"{source}.output", f"{last.name}.output")
        if added is not None:
            depends = (*depends, f"{added}.output", f"{node.name}.output")
        self.step(
            LAYER, (x.buffer, -1 if summand is None else summand.buffer), out.buffer, geometry, f"layer {last.name}",
            depends, lambda native: native.layer_parameters(node, last, source, added),
        )  # fmt: skip

    def _windows(self, node: Node, x: Place) -> tuple[Place, layouts.Strides]:
        """What a convolution multiplies with its weight, as rows."""
        assert node.weight is not None
        image = x.layout.image
        channels, height, width = image.shape
        a, (kernel_height, kernel_width) = node.attrs, node.weight.shape[-2:]
        if kernel_height == kernel_width == 1 and tuple(a["stride"]) == (1, 1) and tuple(a["padding"]) == (0, 0):
            return self.rows(x, image.permute(1, 2, 0))
        strides = layouts.regular(image)
        if strides is None:
            x, _ = self.rows(x)
            strides = layouts.regular(torch.arange(image.numel()).reshape(image.shape))
        assert strides is not None
        out_height, out_width = node.shape[-2:]
        numbers = (
            channels, height, width, kernel_height, kernel_width, out_height, out_width, *a["stride"], *a["padding"],
            *a["dilation"],
        )  # fmt: skip
        depth = channels * kernel_height * kernel_width
        order = torch.arange(out_height * out_width * depth).reshape(-1, depth)
        out = self.new_place(layouts.dense(order, 0), x.source)
        steps = strides.steps
        self.step(
            PATCHES, (x.buffer,), out.buffer, (strides.offset,), f"patches {node.name} {steps}",
            (f"{x.source}.output",), lambda native: native.patches_parameters(x.source, numbers, steps),
        )  # fmt: skip
        found = layouts.rows(order)
        assert found is not None
        return out, found

    def _activation(self, node: Node) -> bool:
        layer = self.graph[node.inputs[0]]
        if layer.name not in self.waiting:
            return False
        self.waiting.remove(layer.name)
        self._emit_layer(layer, node, None)
        return True

    def _norm(self, node: Node) -> bool:
        x = self.place(node.inputs[0])
        assert node.weight is not None
        if x is None or self.network.scheme.layer_norm != "float" or not self.uniform(node):
            return False
        if node.weight.numel() > LARGEST_NORM or layouts.batch_axis(node) is None:
            return False
        x, strides = self.rows(x)
        axis = layouts.batch_axis(node)
        assert axis is not None
        out = self.new_place(layouts.in_order(node, axis), node.name)
        geometry = (strides.sizes[0], strides.offset * x.bytes, strides.steps[0] * x.bytes, 0, strides.sizes[1])
        source = x.source
        self.places[node.name] = out
        self.step(
            NORM, (x.buffer,), out.buffer, geometry, f"norm {node.name}", (f"{source}.output", f"{node.name}.output"),
            lambda native: native.norm_parameters(node, source),
        )  # fmt: skip
        return True

    def _sum(self, node: Node) -> bool:
        waiting = [name for name in node.inputs if name in self.waiting]
        axis, quantizer = layouts.batch_axis(node), self.quantizer(node.name)
        if waiting:
            other = self.place(next(name for name in node.inputs if name != waiting[0]))
            assert other is not None
            self.waiting.remove(waiting[0])
            self._emit_layer(self.graph[waiting[0]], node, other)
            return True
        if axis is None or quantizer is None:
            return False
        operands = []
        for name in node.inputs:
            source = self.graph.source(name)
            found = self.constant(name, source.name, axis) if source.op == "constant" else self.place(name)
            if found is None or found.layout.image.shape != node_image_shape(node, axis):
                return False
            operands.append(found)
        return self._emit_sum(node, operands[0], operands[1], axis, quantizer)

    def _emit_sum(self, node: Node, a: Place, b: Place, axis: int, quantizer: ActivationQuantizer) -> bool:
        if quantizer.exponents is None and a.layout.same_as(b.layout) and a.layout.image.numel() == a.layout.size:
            # Number by number, wherever they lie.
            layout = layouts.dense(a.layout.image, axis)
            width = next(d for d in range(min(layout.size, 1024), 0, -1) if layout.size % d == 0)
            first = second = layouts.Strides(0, (width, 1), (layout.size // width, width))
        elif quantizer.exponents is None or self._last_axis(node):
            (a, first), (b, second) = self.rows(a), self.rows(b)
            layout, width = layouts.in_order(node, axis), first.sizes[1]
        else:
            return False
        out = self.new_place(layout, node.name)
        self.places[node.name] = out
        self._emit_rows_of_sum(node.name, a, first, b, second, out, 0, width, width)
        return True

    def _emit_rows_of_sum(
        self, name: str, a: Place, first: layouts.Strides, b: Place | None, second: layouts.Strides | None, out: Place,
        offset: int, stride: int, width: int,
    ) -> None:  # fmt: skip
        geometry = [
            first.sizes[0],
            width,
            first.offset * a.bytes,
            first.steps[0] * a.bytes,
            0,
            0,
            offset,
            stride * out.bytes,
        ]
        if b is not None and second is not None:
            geometry[4:6] = [second.offset * b.bytes, second.steps[0] * b.bytes]
        a_source, b_source = a.source, None if b is None else b.source
        depends = tuple(f"{n}.output" for n in (a_source, b_source, name) if n is not None)
        self.step(
            SUM, (a.buffer, -1 if b is None else b.buffer), out.buffer, geometry,
            f"sum {name} of {a_source}, {b_source}, {width}", depends,
            lambda native: native.sum_parameters(a_source, b_source, name, width),
        )  # fmt: skip

    def _joined(self, node: Node) -> bool:
        """Parts are quantized, then joined, which is the same as the other way around."""
        axis = layouts.batch_axis(node)
        if axis is None or not self.uniform(node) or node.attrs["dim"] % len(node.shape) == axis:
            return False
        parts = []
        for name in node.inputs:
            constant = self.graph.source(name).op == "constant"
            part = self.constant(name, node.name, axis) if constant else self.place(name)
            if part is None:
                return False
            parts.append(part)
        dim = node.attrs["dim"] % len(node.shape)
        dim -= dim > axis
        layout = layouts.in_order(node, axis)
        targets = torch.split(layout.image, [part.layout.image.shape[dim] for part in parts], dim)
        rows = [layouts.rows(target) for target in targets]
        if any(target is None for target in rows):
            return False
        out = self.new_place(layout, node.name)
        for part, target in zip(parts, rows, strict=True):
            assert target is not None
            part, strides = self.rows(part)
            self._emit_rows_of_sum(
                node.name, part, strides, None, None, out, target.offset, target.steps[0], strides.sizes[1]
            )
        self.places[node.name] = out
        return True

    def _product(self, node: Node) -> bool:
        """The first product of attention is put off, with its softmax, until the second comes."""
        softmax = self.graph[node.inputs[0]]
        if softmax.name in self.waiting:
            return self._attention(node, softmax)
        reader = self._sole_reader(node)
        if reader is None or reader.op != "softmax" or not self.uniform(node) or not self.uniform(reader):
            return False
        placement, last = self.network.placements[reader.name], self._sole_reader(reader)
        if placement.kind != "uniform" or reader.shape[-1] > MAX_TOKENS:
            return False
        if last is None or last.op != "matmul" or last.inputs[0] != reader.name or not self.uniform(last):
            return False
        q, k, v = self.place(node.inputs[0]), self.place(node.inputs[1]), self.place(last.inputs[1])
        if q is None or k is None or v is None or any(layouts.batch_axis(n) is None for n in (node, reader, last)):
            return False
        if not all(self._heads(image) for image in self._attention_images(q, k, v)):
            return False
        if q.wide or k.wide or v.wide or q.layout.image.shape[-1] > LARGEST_DEPTH:
            return False
        self.waiting.update((node.name, reader.name))
        return True

    def _attention_images(self, q: Place, k: Place, v: Place) -> tuple[Tensor, Tensor, Tensor]:
        return q.layout.image, k.layout.image.transpose(-2, -1), v.layout.image

    def _heads(self, image: Tensor) -> layouts.Strides | None:
        """Strides by head, token and number of (..., tokens, depth), numbers side by side."""
        if image.ndim < 2:
            return None
        found = layouts.regular(image.reshape(-1, *image.shape[-2:]))
        return found if found is not None and (found.steps[2] == 1 or found.sizes[2] == 1) else None

    def _attention(self, node: Node, softmax: Node) -> bool:
        logits = self.graph[softmax.inputs[0]]
        axis = layouts.batch_axis(node)
        q, k, v = (self.place(name) for name in (logits.inputs[0], logits.inputs[1], node.inputs[1]))
        assert q is not None and k is not None and v is not None and axis is not None
        strides = [self._heads(image) for image in self._attention_images(q, k, v)]
        geometry: list[int] = []
        for found in strides:
            assert found is not None
            geometry += [found.offset, *found.steps[:2]]
        assert strides[0] is not None and strides[1] is not None and strides[2] is not None
        (heads, queries, depth), tokens, width = strides[0].sizes, strides[1].sizes[1], strides[2].sizes[2]
        shape = node_image_shape(node, axis)
        image = torch.arange(heads * queries * width).reshape(queries, heads, width).permute(1, 0, 2).reshape(shape)
        out = self.new_place(layouts.dense(image, axis), node.name)
        self.waiting -= {logits.name, softmax.name}
        self.places[node.name] = out
        sources = (q.source, k.source, v.source)
        depends = tuple(f"{n}.output" for n in (*sources, logits.name, softmax.name, node.name))
        sizes = (depth, tokens, width)
        self.step(
            ATTENTION, (q.buffer, k.buffer, v.buffer), out.buffer, (heads, queries, *geometry, 0, width, heads * width),
            f"attention {node.name}", depends,
            lambda native: native.attention_parameters(sizes, sources, logits, softmax, node),
        )  # fmt: skip
        return True


def node_image_shape(node: Node, axis: int) -> torch.Size:
    """Shape of a node's value for one image, without the axis of images."""
    return torch.Size([length for index, length in enumerate(node.shape) if index != axis])
