"""Windows of images in plans: where convolutions, pools and interpolation find their numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.engine.native import layout as layouts
from landscape.engine.native.builder import Builder, image_shape
from landscape.engine.native.plan import POOLING, RESAMPLE, Place
from landscape.graph import Node

LARGEST_POOL = 2**22
"""Numbers in an averaged window: their sum fits into int32."""


@dataclass(frozen=True)
class Geometry:
    """What windows read; `Windows` in windows.h with the padding of views included.

    Attributes:
        channels: Of one group.
        size: Height and width of the input.
        steps: From row to row and from column to column, in numbers.
        out: Height and width of the output.
        kernel: Height and width.
        stride: Down and to the right.
        padding: On top and to the left; what lies below and to the right follows.
        dilation: Down and to the right.
        offset: Of the first number.
        groups: Of channels.
        wide: int32 numbers in place of codes.
    """

    channels: int
    size: tuple[int, int]
    steps: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    offset: int
    groups: int = 1
    wide: bool = False

    @property
    def are_pixels(self) -> bool:
        """Whether each window is one pixel, and the pixels follow each other at a fixed distance."""
        plain = self.kernel == self.stride == (1, 1) and self.padding == (0, 0) and self.out == self.size
        return plain and self.steps[0] == self.steps[1] * self.size[1]


def convolution_geometry(builder: Builder, node: Node, x: Place) -> tuple[Place, Geometry]:
    """What a convolution reads, and from where."""
    assert node.weight is not None
    a, kernel = node.attrs, (int(node.weight.shape[-2]), int(node.weight.shape[-1]))
    return _geometry(builder, x, x.layout.image, node.weight.shape[1], image_shape(node, 0), kernel, a["stride"],
                     a["padding"], a["dilation"], a["groups"])  # fmt: skip


def _geometry(
    builder: Builder, x: Place, image: Tensor, channels: int, out: torch.Size, kernel: tuple[int, int],
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int = 1,
) -> tuple[Place, Geometry]:  # fmt: skip
    inside = _inside(image)
    found = None if inside is None else layouts.regular(image[:, inside[0], inside[1]])
    if inside is None or found is None or (found.steps[0] != 1 and image.shape[0] > 1):
        copy = builder.copied(x, image.permute(1, 2, 0))
        return _geometry(
            builder, copy, copy.layout.image.permute(2, 0, 1), channels, out, kernel, stride, padding, dilation, groups
        )
    size, first = (found.sizes[1], found.sizes[2]), (inside[0].start, inside[1].start)
    padded = (padding[0] + first[0], padding[1] + first[1])
    steps = (found.steps[1], found.steps[2])
    if size[1] == 1:
        steps = (steps[0], image.shape[0])
    if size[0] == 1:
        steps = (steps[1] * size[1], steps[1])
    geometry = Geometry(
        channels, size, steps, (out[-2], out[-1]), kernel, _pair(stride), padded, _pair(dilation), found.offset, groups
    )
    return x, geometry


def _pair(values: tuple[int, int]) -> tuple[int, int]:
    return (int(values[0]), int(values[1]))


def _inside(image: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns that are no padding, or None where the zeros do not surround the image."""
    inside = (image >= 0).any(0)
    rows, columns = inside.any(1).nonzero().reshape(-1), inside.any(0).nonzero().reshape(-1)
    if rows.numel() == 0:
        return None
    found = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return found if bool((image[:, found[0], found[1]] >= 0).all()) else None


def cover_pool(builder: Builder, node: Node) -> bool:
    """The largest code of windows, their average, or the average of whole images."""
    x, averaged = builder.place(node.inputs[0]), node.op != "max_pool2d"
    if x is None or not x.coded or layouts.batch_axis(node) != 0 or (averaged and not builder.uniform(node)):
        return False
    if node.op == "mean":
        if 0 in node.attrs["dims"]:
            return False
        image = _averaged_image(x.layout.image, node.attrs["dims"])
        kernel = stride = (image.shape[1], image.shape[2])
        padding, dilation, out, layout = (0, 0), (1, 1), torch.Size((1, 1)), layouts.in_order(node, 0)
    elif x.layout.image.ndim != 3:
        return False
    else:
        image, out = x.layout.image, image_shape(node, 0)
        kernel, stride, padding, dilation = _pool_windows(node)
        if not averaged and bool((image < 0).any()):  # a pool's own padding is below all codes, a view's is zero
            x = builder.copied(x, image.permute(1, 2, 0))
            image = x.layout.image.permute(2, 0, 1)
        layout = layouts.channels_last(*out)
    if kernel[0] * kernel[1] > LARGEST_POOL:
        return False
    x, geometry = _geometry(builder, x, image, image.shape[0], out, kernel, stride, padding, dilation)
    place = builder.new_place(layout, builder.graph.source(node.name).name)
    builder.places[node.name] = place
    source = x.source
    builder.step(
        POOLING, (x.buffer,), place.buffer, (geometry.offset,), f"pool {node.name} {geometry}",
        (f"{source}.output", f"{place.source}.output"),
        lambda native: native.pooling_parameters(source, node.name if averaged else None, geometry),
    )  # fmt: skip
    return True


def cover_resample(builder: Builder, node: Node) -> bool:
    """Interpolation of images, and averages over unequal windows."""
    x = builder.place(node.inputs[0])
    if x is None or not x.coded or layouts.batch_axis(node) != 0 or len(node.shape) != 4 or not builder.uniform(node):
        return False
    found = layouts.regular(x.layout.image)
    if found is None or (found.steps[0] != 1 and found.sizes[0] > 1):
        x = builder.copied(x, x.layout.image.permute(1, 2, 0))
        found = layouts.regular(x.layout.image.permute(2, 0, 1))
        assert found is not None
    place = builder.new_place(layouts.channels_last(*image_shape(node, 0)), node.name)
    builder.places[node.name] = place
    source, sizes, steps = x.source, found.sizes, found.steps
    builder.step(
        RESAMPLE, (x.buffer,), place.buffer, (found.offset,), f"resample {node.name}",
        (f"{source}.output", f"{node.name}.output"),
        lambda native: native.resample_parameters(node, source, (sizes[2], sizes[0], steps[1], steps[2])),
    )  # fmt: skip
    return True


def _averaged_image(image: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Positions as an image (what is kept, 1, what is averaged over); `dims` count the axis of images."""
    kept = [axis for axis in range(image.ndim) if axis + 1 not in dims]
    reduced = [axis for axis in range(image.ndim) if axis + 1 in dims]
    return image.permute(*kept, *reduced).reshape(math.prod(image.shape[axis] for axis in kept), 1, -1)


def _pool_windows(node: Node) -> tuple[tuple[int, int], ...]:
    """Kernel, stride, padding, dilation."""
    if node.op == "avg_pool2d":
        return node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"], (1, 1)
    kernel, stride, padding, dilation, _ = node.attrs["args"]
    return kernel, stride, padding, dilation
