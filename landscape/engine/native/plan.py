"""Plans: nodes of a graph as a flat list of steps that one call takes many images through (see plan.h).

A plan depends on the graph and on where quantizers stand, not on any scale: scales come in when a network's parameters
are bound to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from landscape.engine.native.layout import Layout
from landscape.engine.native.structs import Held
from landscape.graph import Node

if TYPE_CHECKING:
    from landscape.engine.native.prepared import Prepared

LAYER, NORM, ATTENTION, SUM, GATHER, CONVOLUTION, POOLING, MATRICES, SOFTMAX, TABLE, PAIRS, RESAMPLE = range(12)
"""See `Kind` in plan.h."""

LARGEST_DEPTH = 33025
"""Products summed in int32: depth * 255 * 255 stays below 2^31."""


@dataclass(frozen=True)
class Place:
    """A value within a plan.

    Attributes:
        buffer: Which.
        layout: Where in it.
        source: The node whose quantizer gave its codes, or the product with a number that keeps another's.
        bytes: Of one number: 1 for codes, 2 for int16 integers (power-of-two factors), 4 for int32 ones (exact images),
            8 for float64 values (a layer without a quantizer).
    """

    buffer: int
    layout: Layout
    source: str
    bytes: int

    @property
    def coded(self) -> bool:
        """Whether it holds codes."""
        return self.bytes == 1

    @property
    def summable(self) -> bool:
        """Whether it holds codes or int16 integers, which sums and LayerNorms read."""
        return self.bytes <= 2


@dataclass(frozen=True)
class Constant:
    """Codes of a constant.

    Attributes:
        name: The constant.
        source: The node whose quantizer gives them.
        order: Which of them in which order; all as they are if None.
        digest: Tells orders apart.
    """

    name: str
    source: str
    order: Tensor | None = None
    digest: str = ""


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
    make: Callable[[Prepared], Held]


@dataclass
class Plan:
    """Steps from given values to wanted ones.

    Attributes:
        nodes: What it covers, in order.
        steps: In order.
        sizes: Bytes of each buffer, for one image.
        given: Places of the values that must be there, by node.
        constants: Buffers that hold a constant's codes.
        wanted: Places of the values that are to be there afterwards.
    """

    nodes: list[Node] = field(default_factory=list)
    steps: list[PlannedStep] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    given: dict[str, Place] = field(default_factory=dict)
    constants: dict[int, Constant] = field(default_factory=dict)
    wanted: dict[str, Place] = field(default_factory=dict)

    @cached_property
    def offsets(self) -> tuple[dict[int, int], int]:
        """Places for the buffers in between, which share memory where their lives do not overlap; and bytes in all.

        Found once, when the plan is complete; every candidate asks for them.
        """
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
