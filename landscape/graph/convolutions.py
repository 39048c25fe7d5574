"""Convolutions of every kind, as those of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from landscape.graph.call import Call, Steps, UnsupportedError, pair
from landscape.graph.ir import Node


def convolution(call: Call) -> Node:
    """``conv2d``."""
    a = call.arguments
    weight, dilation = _weight(call), pair(a.get("dilation") or 1)
    return call.node(
        "conv2d",
        call.value("input"),
        weight=weight,
        bias=call.tensor("bias"),
        stride=pair(a.get("stride") or 1),
        padding=_conv_padding(a.get("padding") or 0, pair(weight.shape[-2:]), dilation),
        dilation=dilation,
        groups=a.get("groups") or 1,
    )


def _weight(call: Call) -> Tensor:
    weight = call.tensor("weight")
    assert weight is not None
    return weight


def _conv_padding(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding != "same":
        return pair(padding)
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(number % 2 for number in total):
        raise UnsupportedError("a convolution with padding='same' that pads one side more; pad by a module of its own")
    return total[0] // 2, total[1] // 2


def single(value: Any) -> int:
    """The number of an axis, given as such or in a list of one."""
    return int(value) if isinstance(value, int) else int(value[0])


def convolution_1d_nodes(call: Call) -> list[Node]:
    """``conv1d`` as a convolution of images of one row."""
    a, weight, steps = call.arguments, _weight(call).unsqueeze(2), Steps(call)
    shape, dilation = call.shapes[call.value("input")], single(a.get("dilation") or 1)
    padding = a.get("padding") or 0
    if isinstance(padding, str):
        padding = _conv_padding(padding, (1, weight.shape[-1]), (1, dilation))[1]
    rows = steps.view(call.value("input"), (*shape[:2], 1, shape[2]), torch.unsqueeze, 2)
    found = steps.add(
        "conv2d", (*call.shape[:2], 1, call.shape[2]), rows, weight=weight, bias=call.tensor("bias"),
        stride=(1, single(a.get("stride") or 1)), padding=(0, single(padding)), dilation=(1, dilation),
        groups=a.get("groups") or 1,
    )  # fmt: skip
    steps.view(found, call.shape, torch.squeeze, 2)
    return steps.nodes


def convolution_3d_nodes(call: Call) -> list[Node]:
    """``conv3d`` whose kernel reaches along two axes: convolutions of images, as many as the third axis is long."""
    a, weight, steps = call.arguments, _weight(call), Steps(call)
    stride, padding, dilation = (_triple(a.get(key) or other) for key, other in _WINDOW)
    axes = list(zip(weight.shape[2:], stride, padding, strict=True))
    if (1, 1, 0) not in axes:
        raise UnsupportedError("conv3d whose kernel reaches along three axes")
    alone = 2 + axes.index((1, 1, 0))
    first, second = (axis for axis in (2, 3, 4) if axis != alone)
    shape, order = call.shapes[call.value("input")], (0, alone, 1, first, second)
    moved = steps.permuted(call.value("input"), shape, order)
    planes = steps.reshaped(moved, (-1, shape[1], shape[first], shape[second]))
    size = (call.shape[1], call.shape[first], call.shape[second])
    found = steps.add(
        "conv2d", (-1, *size), planes, weight=weight.squeeze(alone), bias=call.tensor("bias"),
        stride=(stride[first - 2], stride[second - 2]), padding=(padding[first - 2], padding[second - 2]),
        dilation=(dilation[first - 2], dilation[second - 2]), groups=a.get("groups") or 1,
    )  # fmt: skip
    apart = (-1, shape[alone], *size)
    steps.permuted(steps.reshaped(found, apart), apart, tuple(order.index(axis) for axis in range(5)))
    return steps.nodes


def _triple(value: Any) -> tuple[int, int, int]:
    numbers = [int(value)] * 3 if isinstance(value, int) else [int(number) for number in value]
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def transposed_convolution_nodes(call: Call) -> list[Node]:
    """``conv_transpose2d`` as a convolution of the image with zeros between its pixels, the kernel turned around."""
    a, weight, steps = call.arguments, _weight(call), Steps(call)
    stride, padding, dilation = (pair(a.get(key) or other) for key, other in _WINDOW)
    extra, groups = pair(a.get("output_padding") or 0), a.get("groups") or 1
    channels, height, width = call.shapes[call.value("input")][1:]
    inputs, outputs, *kernel = weight.shape
    turned = weight.reshape(groups, inputs // groups, outputs, *kernel).transpose(1, 2).flip(-2, -1)
    spread = (height * stride[0], width * stride[1])
    image = steps.reshaped(call.value("input"), (-1, channels, height, 1, width, 1))
    zeros = (0, stride[1] - 1, 0, 0, 0, stride[0] - 1)
    image = steps.view(image, (-1, channels, height, stride[0], width, stride[1]), functional.pad, zeros)
    image = steps.reshaped(image, (-1, channels, *spread))
    before = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    after = [b + e - (s - 1) for b, e, s in zip(before, extra, stride, strict=True)]
    padded = tuple(size + b + e for size, b, e in zip(spread, before, after, strict=True))
    edges = (before[1], after[1], before[0], after[0])
    steps.add(
        "conv2d", call.shape, steps.view(image, (-1, channels, *padded), functional.pad, edges),
        weight=turned.reshape(groups * outputs, inputs // groups, *kernel), bias=call.tensor("bias"),
        stride=(1, 1), padding=(0, 0), dilation=dilation, groups=groups,
    )  # fmt: skip
    return steps.nodes


_WINDOW = (("stride", 1), ("padding", 0), ("dilation", 1))
