"""Scale space: which scales may move, and the directions along which they do.

A point is the vector of all scales that may move. Coordinates are relative: along a direction d the scales are
s = s0 exp(alpha d), so they stay positive and alpha = 0.01 moves them by about 1 % (root mean square).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from landscape.errors import UserError
from landscape.graph import Graph
from landscape.quant.network import QuantizedNetwork

ENDINGS = {"weight": (".weight",), "activation": (".output",), "both": (".weight", ".output")}
"""Endings of scale names, by what `which` asks for."""

DIRECTIONS = ("gaussian", "sign", "channels")


@dataclass(frozen=True)
class ScaleSpace:
    """The scales that may move.

    Attributes:
        names: Of the scales, such as ``blocks.5.attn.qkv.weight``.
        sizes: How many numbers each has: output channels for weights, 1 for activations.
        centre: The calibrated scales one after another, float64 (dimension,).
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    centre: Tensor

    def __repr__(self) -> str:
        """One line: how many scales, and the tensors that they are of."""
        return f"ScaleSpace({self.dimension} scales of {listed(self.names)})"

    @property
    def dimension(self) -> int:
        """Number of scales that may move."""
        return self.centre.numel()

    def scales(self, point: Tensor) -> dict[str, Tensor]:
        """The scales of a point by name, in the shapes of the network's own.

        Args:
            point: float64 (dimension,).

        Raises:
            ValueError: The point has another shape.
        """
        if point.shape != self.centre.shape:
            raise ValueError(f"point has shape {tuple(point.shape)}; expected {tuple(self.centre.shape)}")
        parts = torch.split(point, list(self.sizes))
        return {
            name: part.reshape(()) if name.endswith(".output") else part
            for name, part in zip(self.names, parts, strict=True)
        }

    def at(self, coordinates: Sequence[float], directions: Tensor) -> Tensor:
        """The point s0 exp(sum_k coordinates[k] directions[k]).

        Args:
            coordinates: One for each direction.
            directions: float64 (count, dimension).

        Returns:
            float64 (dimension,).
        """
        exponent = torch.zeros_like(self.centre)
        for coordinate, direction in zip(coordinates, directions, strict=True):
            exponent = exponent + coordinate * direction
        return self.centre * torch.from_numpy(np.exp(exponent.numpy()))

    def channel_name(self, index: int) -> str:
        """Name of one scale: ``blocks.5.attn.qkv.weight[17]``."""
        for name, size in zip(self.names, self.sizes, strict=True):
            if index < size:
                return f"{name}[{index}]" if size > 1 else name
            index -= size
        raise IndexError(index)


def select_names(
    graph: Graph, names: Sequence[str], block: int | None = None, layers: str | None = None, which: str = "weight"
) -> tuple[str, ...]:
    """Choose the scales that may move, by name; needs no calibration.

    Args:
        graph: The network.
        names: All its scales.
        block: An attention block, counted from 0 through the network: its qkv and proj (as Evol-Q, **released**), or
            for activations all quantizers inside its attention module.
        layers: Instead, a pattern with ``*`` and ``?`` for names of layers: ``blocks.3.mlp.*``. Several with commas.
        which: ``weight``, ``activation`` or ``both``.

    Raises:
        UserError: Both or neither of block and layers, a block out of range, a pattern that selects nothing.
    """
    if which not in ENDINGS:
        raise UserError(f"--which {which!r} is unknown; give one of {', '.join(ENDINGS)}")
    if (block is None) == (layers is None):
        raise UserError("say which scales move: either --block N or --layers GLOB")
    candidates = [name for name in names if name.endswith(ENDINGS[which])]
    if not candidates:
        raise UserError(f"no {which} scales are quantized at these bits; choose other --bits or --which")
    if block is not None:
        return _of_block(graph, candidates, block, which)
    assert layers is not None
    patterns = [pattern.strip() for pattern in layers.split(",")]
    chosen = tuple(name for name in candidates if any(_matches(name, pattern) for pattern in patterns))
    if not chosen:
        raise UserError(f"--layers {layers!r} selects nothing; names are like {_examples(candidates, layers)}")
    return chosen


def scale_space(network: QuantizedNetwork, names: Sequence[str]) -> ScaleSpace:
    """The space of the named scales, its centre at the network's own.

    Raises:
        UserError: The network has no scale of some name.
    """
    scales = [network.scale(name).reshape(-1) for name in names]
    return ScaleSpace(tuple(names), tuple(scale.numel() for scale in scales), torch.cat(scales))


def default_selection(graph: Graph) -> tuple[int | None, str | None]:
    """Block and layers for when neither is given: the middle attention block, or all layers where there is none."""
    blocks = len(graph.attention())
    return (blocks // 2, None) if blocks else (None, "*")


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def _of_block(graph: Graph, names: list[str], block: int, which: str) -> tuple[str, ...]:
    attention = graph.attention()
    if not attention:
        raise UserError(
            f"--block needs attention, and this network has none; use --layers, with names like {_examples(names, '')}"
        )
    if not 0 <= block < len(attention):
        raise UserError(f"block {block} is out of range; this network has attention blocks 0 to {len(attention) - 1}")
    chosen = tuple(name for name in names if name.startswith(attention[block] + "."))
    if not chosen:
        raise UserError(f"attention block {block} ({attention[block]}) has no {which} scales; use --layers")
    return chosen


def _examples(names: list[str], wanted: str) -> str:
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    near = difflib.get_close_matches(wanted, layers, 3, 0.3)
    return ", ".join(near or dict.fromkeys([layers[0], layers[len(layers) // 2], layers[-1]]))


def draw_directions(
    space: ScaleSpace, kind: str, count: int, seed: int, channels: Sequence[int] | None = None
) -> Tensor:
    """Directions in scale space, each of unit root mean square over the scales that it moves.

    Args:
        space: The scales.
        kind: ``gaussian``: independent normal numbers, the second direction made orthogonal to the first; ``sign``: +1
            or -1 for every scale; ``channels``: each direction moves a single scale, drawn at random (the figure recipe
            that follows the **paper**), or given by `channels`.
        count: 1 or 2.
        seed: Of the draw; the first direction is the same for either count.
        channels: For ``channels``, which scales, as indices into the point.

    Returns:
        float64 (count, dimension).

    Raises:
        UserError: The kind is unknown, or the space has too few scales for that many directions.
    """
    if kind not in DIRECTIONS:
        raise UserError(f"--direction {kind!r} is unknown; give one of {', '.join(DIRECTIONS)}")
    if space.dimension < count:
        raise UserError(f"{count} directions need {count} scales, but only {space.dimension} is selected; use --dims 1")
    generators = [np.random.default_rng([seed, 1 + number]) for number in range(count)]
    if kind == "channels":
        return _channel_directions(space, count, generators[0], channels)
    if kind == "sign":
        rows = [np.where(g.integers(0, 2, space.dimension) == 0, -1.0, 1.0) for g in generators]
        return torch.from_numpy(np.stack(rows))
    rows = [g.standard_normal(space.dimension) for g in generators]
    if count == 2:
        rows[1] -= rows[0] * (np.sum(rows[0] * rows[1]) / np.sum(rows[0] * rows[0]))
    return torch.from_numpy(np.stack([row / np.sqrt(np.mean(row * row)) for row in rows]))


def _channel_directions(
    space: ScaleSpace, count: int, generator: np.random.Generator, channels: Sequence[int] | None
) -> Tensor:
    chosen = list(channels) if channels is not None else generator.permutation(space.dimension)[:count].tolist()
    if len(set(chosen)) != count or not all(0 <= index < space.dimension for index in chosen):
        raise UserError(f"give {count} different channels from 0 to {space.dimension - 1}; got {chosen}")
    directions = torch.zeros(count, space.dimension, dtype=torch.float64)
    for row, index in enumerate(chosen):
        directions[row, index] = 1.0
    return directions


def listed(names: Sequence[str]) -> str:
    """The first two names, and how many more there are."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
