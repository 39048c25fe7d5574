"""Where the numbers of a node's value lie in a buffer of one image.

A layout is a tensor in the shape of the value, for two images, that holds for each of its numbers the position in a
buffer. Views are applied to it as they are to values, so any view that moves numbers within an image is covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from landscape.graph import Node


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
        positions: int64, in the shape of the value for two images; the second image's lie `size` further.
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
        """The layout of a view of the value; None where the view mixes images or adds numbers."""
        axis = batch_axis(node)
        if axis is None or node.attrs["call"] is functional.pad:
            return None
        positions = node.attrs["call"](self.positions, *node.attrs.get("args", ()), **node.attrs.get("kwargs", {}))
        if positions.ndim != len(node.shape) or positions.shape[axis] != 2:
            return None
        first, second = positions.select(axis, 0), positions.select(axis, 1)
        whole = bool((first < self.size).all()) and torch.equal(first + self.size, second)
        return Layout(positions, self.size, axis) if whole else None

    def regular(self) -> Strides | None:
        """As strides, where it is regular."""
        return regular(self.image)

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
    return dense(torch.arange(int(torch.tensor(shape).prod())).reshape(shape), axis)


def regular(image: Tensor) -> Strides | None:
    """Positions as strides, or None."""
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


def rows(image: Tensor) -> Strides | None:
    """Positions as rows along the last axis whose numbers lie side by side: steps (from row to row, 1)."""
    found = regular(image.reshape(-1, image.shape[-1]))
    return found if found is not None and (found.steps[1] == 1 or found.sizes[1] == 1) else None
