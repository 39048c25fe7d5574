"""Parameters of convolutions, pools and interpolation, as the C structures of convolution.h, pooling.h, resample.h."""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace

import torch
from torch import Tensor

from landscape.engine.native.cover_windows import Geometry
from landscape.engine.native.headers import Convolution, LayerStep, Pooling, Resample, Taps, Windows, address
from landscape.engine.native.parameters import WIDE, activation_struct, struct_at
from landscape.engine.native.structs import Held
from landscape.engine.native.weights import LANES, PreparedWeight
from landscape.graph import Node
from landscape.quant.network import ActivationQuantizer

_MOST_PIXELS, _LONGEST = 16, 1024
"""Pixels of a period, and numbers in one of several pixels."""


def period_of(outputs: int, pixels: int) -> int:
    """Pixels whose outputs, side by side, fill vectors of 64 best; few of them, and no more than there are."""
    choices = [m for m in range(1, min(_MOST_PIXELS, pixels) + 1) if m == 1 or m * outputs <= _LONGEST]
    return min(choices, key=lambda m: (-(-m * outputs // WIDE) * WIDE / (m * outputs), m))


def is_depthwise(geometry: Geometry) -> bool:
    """Whether each output reads one channel, and the kernel for that is to be taken."""
    return geometry.channels == 1 and geometry.groups > 1 and not geometry.wide


def pixels_of_period(geometry: Geometry, outputs: int) -> int:
    """See `period_of`; `outputs` of all groups."""
    return period_of(outputs, geometry.out[1] if is_depthwise(geometry) else math.prod(geometry.out))


def repeated(weight: PreparedWeight, times: int) -> PreparedWeight:
    """A weight whose constants are there for several pixels side by side; `packed` stays."""
    names = ("centre", "code_sums", "zero_point", "gain", "offset", "bias")
    values = {name: value.repeat(times) for name in names if (value := getattr(weight, name)) is not None}
    return replace(weight, **values)


def convolution_struct(
    kernels: ctypes.CDLL, held: Held, weight: PreparedWeight, geometry: Geometry, zero: int, period: int
) -> Held:
    """A convolution.

    Args:
        kernels: The library.
        held: Its layer step, with constants of `repeated` weights.
        weight: Not repeated.
        geometry: What it reads.
        zero: Zero point of the activations.
        period: Pixels that the constants are repeated for.
    """
    step, outputs = held.struct, weight.gain.numel()
    assert isinstance(step, LayerStep)
    groups, taps, wide, multiplier = geometry.groups, None, None, 1
    packed = weight.packed
    if geometry.wide:
        wide = _wide_weights(weight, groups)
    else:
        # One tolerance for all rows: of the largest sum of activations.
        step.layer.fast.tolerance += step.layer.fast.per_total * 255.0 * weight.depth
        if is_depthwise(geometry):
            multiplier = outputs // groups
            taps = _depthwise_weights(kernels, weight, period)
        elif groups > 1:
            packed = _grouped(weight, groups)
    init = torch.cat([_init(step), torch.zeros(WIDE, dtype=torch.int32)])
    step.layer.weights, step.layer.init = address(packed), address(init)
    struct = Convolution(
        step, _windows(geometry, zero), groups, outputs // groups, address(taps), address(wide), geometry.are_pixels,
        multiplier,
    )  # fmt: skip
    return Held(struct, (held, packed, init, taps, wide))


def _init(step: LayerStep) -> Tensor:
    count = -(-step.layer.outputs // WIDE) * WIDE
    array = (ctypes.c_int32 * count).from_address(step.layer.init)
    return torch.tensor(array[:], dtype=torch.int32)


def _windows(g: Geometry, zero: int) -> Windows:
    return Windows(
        g.channels, *g.size, *g.steps, *g.out, *g.kernel, *g.stride, *g.padding, *g.dilation, zero,
    )  # fmt: skip


def _unpacked(weight: PreparedWeight) -> Tensor:
    """Codes less `centre`, int8 (outputs, depth)."""
    blocks = weight.packed.reshape(-1, -(-weight.depth // 4), LANES, 4).transpose(1, 2)
    return blocks.reshape(blocks.shape[0] * LANES, -1)[: weight.gain.numel(), : weight.depth]


def _grouped(weight: PreparedWeight, groups: int) -> Tensor:
    """Packed group by group."""
    codes, depth4 = _unpacked(weight), -(-weight.depth // 4) * 4
    outputs = codes.shape[0] // groups
    padded = torch.zeros(groups, -(-outputs // LANES) * LANES, depth4, dtype=torch.int8)
    padded[:, :outputs, : weight.depth] = codes.reshape(groups, outputs, -1)
    return padded.reshape(-1, LANES, depth4 // 4, 4).transpose(1, 2).contiguous()


def _wide_weights(weight: PreparedWeight, groups: int) -> Tensor:
    """float64 (groups, depth, outputs padded), zero points taken off."""
    codes = _unpacked(weight).double() + (weight.centre - weight.zero_point).double()[:, None]
    outputs = codes.shape[0] // groups
    padded = torch.zeros(groups, weight.depth, -(-outputs // LANES) * LANES, dtype=torch.float64)
    padded[..., :outputs] = codes.reshape(groups, outputs, -1).transpose(1, 2)
    return padded


def _depthwise_weights(kernels: ctypes.CDLL, weight: PreparedWeight, period: int) -> Tensor:
    outputs, taps = weight.gain.numel(), weight.depth
    length, count = ctypes.c_int64(outputs * period), ctypes.c_int64(taps)
    kernels.landscape_depthwise_bytes.restype = ctypes.c_int64
    packed = torch.empty(kernels.landscape_depthwise_bytes(length, count), dtype=torch.int8)
    kernels.landscape_pack_depthwise(
        ctypes.c_void_p(weight.packed.data_ptr()), ctypes.c_int64(outputs), count, length,
        ctypes.c_void_p(packed.data_ptr()),
    )  # fmt: skip
    return packed


def pooling_struct(x: ActivationQuantizer, out: ActivationQuantizer | None, geometry: Geometry) -> Held:
    """A pool: the quantized average, or without `out` the largest code."""
    quantizer = None if out is None else activation_struct(out)
    pointer = None if quantizer is None else struct_at(quantizer)
    windows = _windows(geometry, int(x.zero_point))
    return Held(Pooling(windows, pointer, float(x.scale), float(math.prod(geometry.kernel))), (quantizer,))


def resample_struct(
    node: Node, x: ActivationQuantizer, out: ActivationQuantizer, image: tuple[int, int, int, int]
) -> Held:
    """Interpolation.

    Args:
        node: With places and weights.
        x: Of the input.
        out: Of the result.
        image: Width, channels, steps from row to row and from column to column.
    """
    quantizer, taps, kept = activation_struct(out), [], []
    for name in ("row", "column"):
        places = node.attrs[f"{name}_taps"].to(torch.int32).contiguous()
        weights = node.attrs[f"{name}_weights"].double().contiguous()
        taps.append(Taps(places.data_ptr(), weights.data_ptr(), *places.shape))
        kept += [places, weights]
    struct = Resample(*image, *taps, int(x.zero_point), float(x.scale), struct_at(quantizer))
    return Held(struct, (quantizer, *kept))
