"""What takes nodes into a plan: where values lie, and what is put off until a later node comes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.native import layout as layouts
from landscape.engine.native.layout import Layout
from landscape.engine.native.plan import GATHER, Constant, Place, Plan, PlannedStep
from landscape.engine.native.structs import Held
from landscape.graph import Node
from landscape.quant.network import ActivationQuantizer, QuantizedNetwork

if TYPE_CHECKING:
    from landscape.engine.native.prepared import Prepared

Segment = Plan | Node


@dataclass(frozen=True)
class Pending:
    """A node that a later one covers.

    Attributes:
        nodes: It, and those before it that it has taken over.
        layer: The layer, product of activations or `affine` whose value it is, or the layer that it adds; None for a
            sum of values that are there.
        other: What a layer's value is added to, if it is.
    """

    nodes: tuple[Node, ...]
    layer: Node | None = None
    other: Place | None = None


class Builder:
    """A plan in the making.

    Args:
        network: Says where quantizers stand; its scales do not matter.
        nodes: What is still to come, in order.
        keep: Names of the values that are wanted afterwards.

    Attributes:
        plan: So far.
        places: Where the values are, by node.
        pending: Nodes that are covered together with a later one.
    """

    def __init__(self, network: QuantizedNetwork, nodes: Sequence[Node], keep: Collection[str]) -> None:
        self.network, self.graph = network, network.graph
        self.keep = set(keep)
        self.plan = Plan()
        self.places: dict[str, Place] = {}
        self.pending: dict[str, Pending] = {}
        self.names = {node.name for node in nodes if node.op != "input"}
        self.readers = network.graph.consumers()

    def quantizer(self, name: str) -> ActivationQuantizer | None:
        """The quantizer of a node's value."""
        return self.network.activations.get(name)

    def uniform(self, node: Node) -> bool:
        """Whether a node's value is codes with one scale."""
        quantizer = self.quantizer(node.name)
        return quantizer is not None and quantizer.exponents is None

    def last_axis(self, node: Node) -> bool:
        """Whether the channels of a node's power-of-two factors lie along its last axis."""
        return self.network.activations[node.name].channel_axis in (-1, len(node.shape) - 1)

    def image_channels(self, node: Node) -> bool:
        """Whether they are the channels of images (N, C, H, W)."""
        return len(node.shape) == 4 and self.network.activations[node.name].channel_axis == 1

    def sole_reader(self, node: Node) -> Node | None:
        """The only node that reads a value, if it is among those to come and the value is not kept."""
        readers = self.readers[node.name]
        if len(readers) != 1 or readers[0] not in self.names or node.name in self.keep:
            return None
        return self.graph[readers[0]]

    # -- values

    def place(self, name: str) -> Place | None:
        """Where a value is; one from outside the plan becomes one of its inputs."""
        if name in self.places:
            return self.places[name]
        node = self.graph[name]
        if name in self.names or node.op in ("constant", "expand"):
            return None  # computed later, or within another step
        axis, source = layouts.batch_axis(node), self.graph.source(name)
        if axis is None or self._bytes_of(source.name) is None:
            return None
        channels_last = axis == 0 and len(node.shape) == 4 and self._has_channels_first(node)
        layout = layouts.channels_last(*node.shape[1:]) if channels_last else layouts.in_order(node, axis)
        place = self.new_place(layout, source.name)
        self.plan.given[name] = self.places[name] = place
        return place

    def _has_channels_first(self, node: Node) -> bool:
        """Whether a value (N, a, b, c) is an image (N, C, H, W): convolutions want its channels side by side."""
        while node.op in ("unary", "add", "mul", "affine", "scale") or node.attrs.get("call") is functional.pad:
            node = self.graph[node.inputs[0]]
        return node.op in ("input", "conv2d", "avg_pool2d", "max_pool2d")

    def _bytes_of(self, source: str) -> int | None:
        quantizer = self.quantizer(source)
        if self.graph[source].op == "scale":
            return self._bytes_of(self.graph.source(self.graph[source].inputs[0]).name)
        if quantizer is None:
            return 4 if self.graph[source].op == "input" and self.network.exact_input else None
        return 1 if quantizer.exponents is None else 2

    def constant(self, name: str, source: str, reader: Node, axis: int) -> Place | None:
        """A constant, in codes of a quantizer, the same for all images.

        Args:
            name: The constant, or a node that repeats it.
            source: Whose quantizer.
            reader: What reads it, broadcasting it where it lacks the axis of images.
            axis: Of the images in the reader's value.
        """
        node, quantizer = self.graph[name], self.quantizer(source)
        origin = self.graph[node.inputs[0]] if node.op == "expand" else node
        if origin.op != "constant" or quantizer is None or quantizer.exponents is not None:
            return None
        broadcast = len(node.shape) < len(reader.shape)
        shape = node.shape if broadcast else node.shape[1:]
        if axis != 0 or origin.shape != (shape if broadcast else (1, *shape)):
            return None
        image = torch.arange(math.prod(shape)).reshape(shape)
        place = self.new_place(layouts.dense(image, 0), source)
        self.plan.constants[place.buffer] = Constant(origin.name, source)
        return place

    def new_place(self, layout: Layout, source: str) -> Place:
        """Room for a value; without a quantizer, for its float64 numbers."""
        size = self._bytes_of(source) or 8
        self.plan.sizes.append(layout.size * size)
        return Place(len(self.plan.sizes) - 1, layout, source, size)

    def rows(self, place: Place, image: Tensor | None = None) -> tuple[Place, layouts.Strides]:
        """A value as rows along its last axis (or the last of `image`), copied where it does not lie so."""
        image = place.layout.image if image is None else image
        found = layouts.rows(image)
        if found is not None:
            return place, found
        copy = self.copied(place, image)
        found = layouts.rows(torch.arange(image.numel()).reshape(-1, image.shape[-1]))
        assert found is not None
        return copy, found

    def copied(self, place: Place, image: Tensor) -> Place:
        """A copy of a value in the order of `image`, zeros where it has holes."""
        copy = self.new_place(layouts.dense(torch.arange(image.numel()).reshape(image.shape), 0), place.source)
        constant = self.plan.constants.get(place.buffer)
        if constant is not None and bool((image >= 0).all()):  # in that order from the start
            order = image.reshape(-1) if constant.order is None else constant.order[image.reshape(-1)]
            self.plan.constants[copy.buffer] = replace(constant, order=order, digest=_digest(order))
            return copy
        runs, source, size = layouts.runs(image), place.source, place.bytes
        self.step(
            GATHER, (place.buffer,), copy.buffer, (), f"gather {_digest(runs)} of {source}", (f"{source}.output",),
            lambda native: native.gather_parameters(runs, source, size),
        )  # fmt: skip
        return copy

    def beside(self, place: Place, layout: Layout) -> Place:
        """A value whose numbers stand as those of a dense layout do; copied where they do not."""
        if place.layout.same_as(layout):
            return place
        order = layout.image.reshape(-1).argsort()
        copy = self.copied(place, place.layout.image.reshape(-1)[order])
        return Place(copy.buffer, layouts.dense(layout.image, layout.axis), copy.source, copy.bytes)

    # -- steps

    def step(
        self,
        kind: int,
        inputs: Sequence[int],
        output: int,
        geometry: Sequence[int],
        name: str,
        depends: tuple[str, ...],
        make: Callable[[Prepared], Held],
    ) -> None:
        """Append a step, see `PlannedStep`."""
        self.plan.steps.append(PlannedStep(kind, inputs, output, geometry, name, depends, make))

    def finish(self, segments: list[Segment], rest: Sequence[Node]) -> None:
        """Close the plan: what later nodes read, or what is to be kept, is wanted."""
        order = {node.name: index for index, node in enumerate(self.graph)}
        put_off = (node for pending in self.pending.values() for node in pending.nodes)
        unfinished = sorted(put_off, key=lambda node: order[node.name])
        later = {name for node in (*rest, *unfinished) for name in node.inputs} | self.keep
        for name in later & self.places.keys():
            place = self.places[name]
            if bool((place.layout.image < 0).any()):
                copy = self.copied(place, place.layout.image)
                layout = layouts.dense(copy.layout.image, place.layout.axis)
                self.places[name] = Place(copy.buffer, layout, copy.source, copy.bytes)
        ready = {name: place for name, place in self.places.items() if name not in self.plan.given}
        self.plan.wanted = {name: place for name, place in ready.items() if name in later}
        if self.plan.steps or self.plan.wanted:
            segments.append(self.plan)
        names = {node.name for node in unfinished}
        self.plan.nodes = [node for node in self.plan.nodes if node.name not in names]
        segments.extend(unfinished)


def _digest(numbers: Tensor) -> str:
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


def image_shape(node: Node, axis: int) -> torch.Size:
    """Shape of a node's value for one image, without the axis of images."""
    return torch.Size([length for index, length in enumerate(node.shape) if index != axis])
