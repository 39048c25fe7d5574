"""Where the numbers of a node's value lie in a buffer of one image.

A layout is a tensor in the shape of the value, for two images, that holds for each of its numbers the position in a
buffer. Views are applied to it as they are to values, so any view that moves numbers within an image is covered. Zeros
that a view pads with are holes in it: they stand nowhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from landscape.graph import Node

HOLE = -1
"""Position of a zero that padding has put there."""

_SHORT_RUN = 8
"""Numbers on average below which runs of neighbours are slow to copy."""


@dataclass(frozen=True)
class Strides:
    """A regular layout: position = offset + sum of index * stride."""

    offset: int
    steps: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Positions of a value's numbers.

    Attributes:
        positions: int64, in the shape of the value for two images; the second image's lie `size` further. `HOLE` for
            zeros.
        size: Numbers of one image in the buffer.
        axis: Of the images.
    """

    positions: Tensor
    size: int
    axis: int

    @property
    def image(self) -> Tensor:
        """Positions within one image, without the axis of images."""
        return self.positions.select(self.axis, 0)

    def moved(self, node: Node) -> Layout | None:
        """The layout of a view of the value; None where the view mixes images."""
        axis, call = batch_axis(node), node.attrs["call"]
        if axis is None:
            return None
        options = {"value": HOLE} if call is functional.pad else node.attrs.get("kwargs", {})
        try:
            positions = call(self.positions, *node.attrs.get("args", ()), **options)
        except RuntimeError:  # it divides rows of which an image has several; here it has one
            return None
        if positions.ndim != len(node.shape) or positions.shape[axis] != 2:
            return None
        first, second = positions.select(axis, 0), positions.select(axis, 1)
        shifted = torch.where(first == HOLE, HOLE, first + self.size)
        whole = bool((first < self.size).all()) and torch.equal(shifted, second)
        return Layout(positions, self.size, axis) if whole else None

    def broadcast(self, shape: torch.Size, axis: int) -> Layout | None:
        """The layout of the value repeated along axes, from the shape of an image and the axis of images.

        None where it does not fit.
        """
        if self.image.shape == shape:
            return self
        try:
            image = self.image.expand(shape)
        except RuntimeError:
            return None
        return Layout(torch.stack([image, torch.where(image == HOLE, HOLE, image + self.size)], axis), self.size, axis)

    @cached_property
    def strides(self) -> Strides | None:
        """The positions as strides, where they are regular; found once, as every run of a plan asks for it."""
        return regular(self.image)

    @property
    def fills(self) -> bool:
        """Whether every number of the buffer is one of the value's, once."""
        return torch.equal(self.image.reshape(-1).sort().values, torch.arange(self.size))

    def same_as(self, other: Layout) -> bool:
        """Whether both have each number at the same place of a buffer."""
        return self.size == other.size and torch.equal(self.image, other.image)


def batch_axis(node: Node) -> int | None:
    """The axis of images in a node's value, None where there is none or they are spread or merged."""
    return node.shape.index(-1) if node.shape.count(-1) == 1 else None


def dense(image: Tensor, axis: int) -> Layout:
    """A layout that fills a buffer, from the positions within one image."""
    size = image.numel()
    return Layout(torch.stack([image, image + size], axis), size, axis)


def in_order(node: Node, axis: int) -> Layout:
    """The layout of a value that lies in the order of its axes."""
    shape = [length for index, length in enumerate(node.shape) if index != axis]
    return dense(torch.arange(math.prod(shape)).reshape(shape), axis)


def channels_last(channels: int, height: int, width: int) -> Layout:
    """The layout of images (N, channels, height, width) with the channels of a pixel side by side."""
    return dense(torch.arange(channels * height * width).reshape(height, width, channels).permute(2, 0, 1), 0)


def regular(image: Tensor) -> Strides | None:
    """Positions as strides, or None."""
    if bool((image < 0).any()):
        return None
    offset = int(image.reshape(-1)[0])
    steps, expected = [], torch.tensor(offset)
    for axis, length in enumerate(image.shape):
        index = [0] * image.ndim
        index[axis] = min(1, length - 1)
        step = int(image[tuple(index)]) - offset
        steps.append(step)
        along = (torch.arange(length) * step).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
        expected = expected + along
    return (
        Strides(offset, tuple(steps), tuple(image.shape)) if torch.equal(image, expected.expand(image.shape)) else None
    )


def runs(image: Tensor) -> Tensor:
    """Positions, in the order of the axes, as runs: int32 (count, 3), start, length and step of each.

    Runs of neighbours, or, where these are short, along the last axis at equal steps.
    """
    found = _runs_of_neighbours(image)
    if len(found) * _SHORT_RUN < image.numel():
        return found
    strides = regular(image)
    if strides is None:
        return found
    sizes, steps = _merged(strides)
    if sizes[-1] < _SHORT_RUN:
        return found
    starts = torch.tensor(strides.offset)
    for size, step in zip(sizes[:-1], steps[:-1], strict=True):
        starts = starts[..., None] + torch.arange(size) * step
    starts = starts.reshape(-1)
    others = torch.tensor([sizes[-1], steps[-1]]).expand(len(starts), 2)
    return torch.cat([starts[:, None], others], 1).to(torch.int32).contiguous()


def _merged(strides: Strides) -> tuple[list[int], list[int]]:
    """Sizes and steps of a regular layout, axes that continue one another as one."""
    sizes, steps = [1], [0]
    for size, step in zip(strides.sizes, strides.steps, strict=True):
        if size == 1:
            continue
        if steps[-1] == step * size and sizes[-1] > 1:
            sizes[-1], steps[-1] = sizes[-1] * size, step
        else:
            sizes.append(size)
            steps.append(step)
    return sizes, steps


def _runs_of_neighbours(image: Tensor) -> Tensor:
    flat = image.reshape(-1)
    holes = flat < 0
    joined = torch.where(holes[1:], holes[:-1], (flat[1:] == flat[:-1] + 1) & ~holes[:-1])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), (~joined).nonzero().reshape(-1) + 1])
    lengths = torch.diff(starts, append=torch.tensor([flat.numel()]))
    return torch.stack([flat[starts], lengths, torch.ones_like(lengths)], 1).to(torch.int32).contiguous()


def rows(image: Tensor) -> Strides | None:
    """Positions as rows along the last axis whose numbers lie side by side: steps (from row to row, 1)."""
    found = regular(image.reshape(-1, image.shape[-1]))
    return found if found is not None and (found.steps[1] == 1 or found.sizes[1] == 1) else None
