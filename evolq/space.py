"""The search space: which parameters of a quantized network an optimizer moves, and in what groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from landscape.errors import UserError
from landscape.graph import Graph
from landscape.quant.network import QuantizedNetwork
from landscape.quant.qparams import CodeRange
from landscape.space import select_names

FloatArray = npt.NDArray[np.float64]

SCALES = ("attention", "weights", "activations", "all")
LARGEST_EXPONENT = 20.0
"""Bound of a scale's coordinate: s0 exp(20) is far beyond any use, and far from overflow."""


@dataclass(frozen=True)
class SpaceOptions:
    """Which parameters an optimizer moves.

    Attributes:
        scales: attention (weight scales of each attention's qkv and proj, **released**), weights (of all layers),
            activations (of all quantizers), all (both); the method's own choice by default.
        zero_points: Move the zero points that belong to these scales too.
        tie: Move all channels of a layer by one common factor; few coordinates, for methods that need that.
    """

    scales: str = "attention"
    zero_points: bool = False
    tie: bool = False

    def __post_init__(self) -> None:
        if self.scales not in SCALES:
            raise UserError(f"--scales {self.scales!r} is unknown; give one of {', '.join(SCALES)}")


@dataclass(frozen=True)
class SpaceInfo:
    """What an optimizer knows of its search space.

    Attributes:
        dimension: Number of coordinates.
        groups: Indices of each group's coordinates, from the network's input to its output.
        group_names: Their names, such as ``blocks.5``.
        integer: Which coordinates are zero points, counted in codes; bool (dimension,).
        centre: The scales (or zero points) at the start, float64 (dimension,); for tied coordinates 1.
        bits: Bit width that each coordinate's codes have, int64 (dimension,).
        images: Number of search images; what measuring a point on all of them costs.
        parts: Numbers of images of the parts that they are split into, in order.
    """

    dimension: int
    groups: tuple[npt.NDArray[np.int64], ...]
    group_names: tuple[str, ...]
    integer: npt.NDArray[np.bool_]
    centre: FloatArray
    bits: npt.NDArray[np.int64]
    images: int = 1
    parts: tuple[int, ...] = (1,)

    @classmethod
    def plain(cls, dimension: int, groups: int = 1, images: int = 1, parts: int = 1) -> SpaceInfo:
        """A space of scales that start at 1, its coordinates split evenly into groups; for problems of one's own."""
        return cls(
            dimension,
            tuple(np.array_split(np.arange(dimension), groups)),
            tuple(f"group {index}" for index in range(groups)),
            np.zeros(dimension, dtype=bool),
            np.ones(dimension),
            np.full(dimension, 4),
            images,
            tuple(len(part) for part in np.array_split(np.arange(images), parts)),
        )


@dataclass(frozen=True)
class _Part:
    """One named tensor of a network: a scale, or the zero point that belongs to it."""

    name: str
    integer: bool
    columns: slice
    start: npt.NDArray[np.float64]
    bits: int


@dataclass(frozen=True)
class NetworkSpace:
    """The search space of a quantized network.

    Attributes:
        network: The start, where all coordinates are zero.
        names: Of the scales that move.
        info: What optimizers see.
        part_names: Names of the parts of a point: scales by their names, zero points with ``.zero_point`` behind.
        part_sizes: Numbers of coordinates in each.
    """

    network: QuantizedNetwork
    names: tuple[str, ...]
    info: SpaceInfo
    part_names: tuple[str, ...]
    part_sizes: tuple[int, ...]
    _parts: tuple[_Part, ...] = field(repr=False, default=())

    def parameters(self, point: FloatArray) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Scales and zero points of a point, by name; only those that differ from the start's.

        Args:
            point: Relative coordinates, float64 (dimension,).

        Raises:
            ValueError: The point has another shape.
        """
        if point.shape != (self.info.dimension,):
            raise ValueError(f"point has shape {point.shape}; expected ({self.info.dimension},)")
        scales: dict[str, torch.Tensor] = {}
        zero_points: dict[str, torch.Tensor] = {}
        for part in self._parts:
            moved = point[part.columns]
            if not moved.any():
                continue
            table = zero_points if part.integer else scales
            table[part.name] = torch.from_numpy(_moved(part, moved)).reshape(self.network.scale(part.name).shape)
        return scales, zero_points

    def gather(self, relative: FloatArray) -> FloatArray:
        """From a derivative with respect to each scale's logarithm to that with respect to the coordinates.

        Args:
            relative: float64, one entry for each number of the scales `names`, in order.

        Returns:
            float64 (dimension,): the same, summed over the channels that are tied.
        """
        if len(relative) == self.info.dimension:
            return relative
        sizes = [part.start.size for part in self._parts if not part.integer]
        return np.array([chunk.sum() for chunk in np.split(relative, np.cumsum(sizes)[:-1])])

    def spread(self, vector: FloatArray) -> FloatArray:
        """From a vector of coordinates to one entry for each number of the scales: the transpose of `gather`."""
        sizes = [part.start.size for part in self._parts if not part.integer]
        return vector if len(vector) == sum(sizes) else np.repeat(vector, sizes)

    def at(self, point: FloatArray) -> QuantizedNetwork:
        """The network at a point; parameters that did not move are shared with the start."""
        scales, zero_points = self.parameters(point)
        return self.network.with_parameters(scales, zero_points)

    def point(self, scales: Mapping[str, torch.Tensor], zero_points: Mapping[str, torch.Tensor]) -> FloatArray:
        """The coordinates of given scales and zero points; what is not given, or does not move, stays at the start.

        Args:
            scales: By name, in the network's own shapes.
            zero_points: By name, likewise.

        Raises:
            ValueError: The channels of a layer are tied, so that these parameters may not be reachable.
        """
        found = np.zeros(self.info.dimension)
        for part in self._parts:
            given = zero_points if part.integer else scales
            if part.name not in given:
                continue
            values = given[part.name].reshape(-1).double().numpy()
            if _size(part) != len(values):
                raise ValueError(f"{part.name} has {len(values)} channels, which are tied in this space")
            found[part.columns] = values - part.start if part.integer else np.log(values / part.start)
        return found

    def names_of_group(self, group: int) -> tuple[str, ...]:
        """Scales of a group, also where only their zero points move."""
        columns = set(self.info.groups[group].tolist())
        return tuple(dict.fromkeys(part.name for part in self._parts if part.columns.start in columns))

    def columns(self, name: str, *, zero_point: bool = False) -> slice:
        """Where the coordinates of a scale, or of its zero point, stand in a point.

        Raises:
            KeyError: It does not move.
        """
        for part in self._parts:
            if part.name == name and part.integer == zero_point:
                return part.columns
        raise KeyError(name)


def _moved(part: _Part, moved: FloatArray) -> FloatArray:
    if part.integer:
        return np.clip(np.rint(part.start + moved), 0, CodeRange(part.bits).qmax)
    with np.errstate(invalid="ignore"):
        return part.start * np.exp(np.clip(moved, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def network_space(
    network: QuantizedNetwork,
    options: SpaceOptions,
    images: int = 1,
    parts: Sequence[int] = (1,),
    names: Sequence[str] | None = None,
) -> NetworkSpace:
    """The search space of a network.

    Args:
        network: The start.
        options: Which parameters move.
        images: Number of search images.
        parts: Numbers of images of the parts that they are split into.
        names: Of the scales that move, in place of `SpaceOptions.scales`.

    Raises:
        UserError: The network has no such scales.
    """
    if names is None:
        names = searched_names(network.graph, network.scale_names(), options.scales)
    made: list[_Part] = []
    groups: dict[str, list[int]] = {}
    start = 0
    for integer in (False, True) if options.zero_points else (False,):
        for name in names:
            values = (_zero_point(network, name) if integer else network.scale(name)).reshape(-1).numpy()
            size = 1 if options.tie else len(values)
            part = _Part(name, integer, slice(start, start + size), values.astype(np.float64), _bits(network, name))
            made.append(part)
            groups.setdefault(_group_of(network.graph, name), []).extend(range(start, start + size))
            start += size
    info = SpaceInfo(
        start,
        tuple(np.array(columns) for columns in groups.values()),
        tuple(groups),
        np.concatenate([np.full(_size(part), part.integer) for part in made]),
        np.concatenate([np.ones(1) if options.tie else part.start for part in made]),
        np.concatenate([np.full(_size(part), part.bits) for part in made]),
        images,
        tuple(parts),
    )
    part_names = tuple(part.name + (".zero_point" if part.integer else "") for part in made)
    return NetworkSpace(network, tuple(names), info, part_names, tuple(_size(part) for part in made), tuple(made))


def _size(part: _Part) -> int:
    return int(part.columns.stop) - int(part.columns.start)


def searched_names(graph: Graph, every: Sequence[str], scales: str) -> tuple[str, ...]:
    """The scales that `SpaceOptions.scales` means, of all that a network has.

    Raises:
        UserError: The network has no such scales.
    """
    if scales == "attention":
        blocks = range(len(graph.attention()))
        if not blocks:
            raise UserError("--scales attention needs attention, and this network has none; use --scales weights")
        return tuple(name for block in blocks for name in select_names(graph, every, block))
    # The input's quantizer stays: the engine starts from its codes.
    every = [name for name in every if name != "input.output"]
    endings = {"weights": (".weight",), "activations": (".output",), "all": (".weight", ".output")}[scales]
    names = tuple(name for name in every if name.endswith(endings))
    if not names:
        raise UserError(f"no {scales} scales are quantized at these bits; choose other --bits or --scales")
    return names


def _zero_point(network: QuantizedNetwork, name: str) -> torch.Tensor:
    owner, _, kind = name.rpartition(".")
    return network.weights[owner].zero_point if kind == "weight" else network.activations[owner].zero_point


def _bits(network: QuantizedNetwork, name: str) -> int:
    owner, _, kind = name.rpartition(".")
    return network.weights[owner].bits if kind == "weight" else network.activations[owner].bits


def _group_of(graph: Graph, name: str) -> str:
    """The block that a scale belongs to: the module around an attention, or the leading numbered part of its name."""
    owner = name.rpartition(".")[0]
    for attention in graph.attention():
        block = attention.rpartition(".")[0] or attention
        if owner == block or owner.startswith(block + "."):
            return block
    numbered = re.match(r".*?\d+(?=\.|$)", owner)
    return numbered.group() if numbered else owner
