"""Integer products: sums of codes times weights, exact, by the fastest way that the machine has.

Three ways: int8 products with int32 sums (``torch._int_mm``), with activations as they are (uint8, x86) or less 128
(int8); and float32 products, exact as long as no sum can reach 2^24 (float64 else). Which of them is the fastest
depends on the processor, so it is measured once in every process; all give the same sums.

Not on every processor: x86 without VNNI adds two products of uint8 and int8 in int16, which saturates. (int8 products
are turned into those.) There the int8 ways are exact for narrow weights only, so ways are tried with the widest
integers that they are to be used for.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

UNSIGNED, SIGNED, FLOAT = "int8 products (unsigned)", "int8 products", "float32 products"

LARGEST_DEPTH = 33025
"""Sums in int32: depth * 255 * 255 stays below 2^31."""

LARGEST_NARROW = 64
"""Of a weight's integers, so that two products with codes stay within int16: 2 * 64 * 255 < 2^15."""

_ALIGNMENT = 16
_EXACT_FLOAT32 = 2**24
_SMALLEST_ROWS = 17  # CUDA's int8 product wants more than 16 rows


@dataclass(frozen=True)
class PackedWeight:
    """A layer's weight as the products take it.

    Attributes:
        matrix: (K, C or more): integer weights less `shift`; column C holds ones, so that it yields the row's sum.
        sums: int32 (C,): of each output's integer weights (with `shift`).
        shift: int32 (C,), where integers did not fit into int8; else None.
        way: One of the three above.
    """

    matrix: Tensor
    sums: Tensor
    shift: Tensor | None
    way: str

    @property
    def code_shift(self) -> int:
        """What is taken off the codes before they are multiplied."""
        return 128 if self.way == SIGNED else 0


def pack(integers: Tensor, way: str) -> PackedWeight:
    """Pack integer weights (C, ...), each output's within a range of 256 values.

    Args:
        integers: float64; for convolutions (C, in, kh, kw), and windows come as (kh, kw, in).
        way: One of the three.
    """
    rows = (integers.permute(0, 2, 3, 1) if integers.ndim == 4 else integers).flatten(1)
    outputs, depth = rows.shape
    high, low = rows.amax(1), rows.amin(1)
    shift = (high - 127.0).clamp(min=0.0) + (low + 128.0).clamp(max=0.0)
    if way == FLOAT or not bool(shift.any()):
        shift = torch.zeros_like(shift)
    padding = -(outputs + 1) % _ALIGNMENT
    matrix = torch.zeros(depth + (-depth % 8 if way == SIGNED else 0), outputs + 1 + padding, dtype=torch.float64)
    matrix = matrix.to(rows.device)
    matrix[:depth, :outputs] = (rows - shift[:, None]).T
    matrix[:depth, outputs] = 1.0
    if way == FLOAT:
        matrix = matrix.to(exact_float(depth * 255.0 * max(float(rows.abs().max()), 1.0)))
    else:
        matrix = matrix.to(torch.int8)
    sums = rows.sum(1).to(torch.int32)
    return PackedWeight(matrix.contiguous(), sums, shift.to(torch.int32) if bool(shift.any()) else None, way)


def pack_depthwise(integers: Tensor) -> PackedWeight:
    """Integer weights (C, 1, kh, kw) as `float32.depthwise` takes them: (kh kw, C), without ones."""
    sums = integers.flatten(1).sum(1).to(torch.int32)
    return PackedWeight(integers.flatten(1).T.float().contiguous(), sums, None, UNSIGNED)


def pack_grouped(integers: Tensor, groups: int) -> PackedWeight:
    """Integer weights (C, in / groups, kh, kw) as `layers.grouped_sums` takes them.

    Returns:
        Matrix (groups (C / groups + 1), in / groups, kh, kw), ones behind each group, in a number type of exact sums;
        sums (groups, C / groups).
    """
    parts = integers.unflatten(0, (groups, -1))  # type: ignore[no-untyped-call]
    matrix = torch.cat([parts, torch.ones_like(parts[:, :1])], 1).flatten(0, 1)
    largest = integers[0].numel() * 255.0 * float(matrix.abs().max())
    sums = integers.flatten(1).sum(1).to(torch.int32).reshape(groups, -1)
    return PackedWeight(matrix.to(exact_convolution_float(largest, matrix.device)).contiguous(), sums, None, UNSIGNED)


def multiply(codes: Tensor, weight: PackedWeight) -> Tensor:
    """Sums of products (rows, C or more), int32 or integers in float; codes uint8 (rows, K).

    They may lie in memory that this thread's next product takes.
    """
    if weight.way == FLOAT:
        return codes.to(weight.matrix.dtype) @ weight.matrix
    rows, depth = codes.shape
    if weight.way == SIGNED:
        codes = less_128(codes)
        extra_rows, extra_depth = max(0, _SMALLEST_ROWS - rows), weight.matrix.shape[0] - depth
        if extra_rows or extra_depth:
            codes = torch.nn.functional.pad(codes, (0, extra_depth, 0, extra_rows))
    out = memory((codes.shape[0], weight.matrix.shape[1]), codes.device)
    return torch._int_mm(codes, weight.matrix, out=out)[:rows]


def exact_float(largest: float) -> torch.dtype:
    """The number type in which sums of integer products of at most that magnitude are exact.

    float32 holds integers up to 2^24; float64 is taken beyond, and where PyTorch has been allowed to multiply float32
    numbers in a smaller format.
    """
    full = torch.get_float32_matmul_precision() == "highest"
    return torch.float32 if full and largest < _EXACT_FLOAT32 else torch.float64


def exact_convolution_float(largest: float, device: torch.device) -> torch.dtype:
    """The same of convolutions, for which GPUs take smaller formats unless told otherwise."""
    return exact_float(largest) if device.type == "cpu" else torch.float64


def multiply_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Products of many small matrices of 8-bit integers: (..., R, K) with (..., K, C) -> int32 (G, R, C).

    They may lie in memory that this thread's next product takes.

    Args:
        a: uint8 or int8; any strides.
        b: int8; any strides.
    """
    first, second = _matrices(a), _matrices(b)
    out = memory((len(first), a.shape[-2], b.shape[-1]), a.device)
    for x, y, product in zip(first, second, out.unbind(), strict=True):
        torch._int_mm(x, y, out=product)
    return out


def integer_product(sums: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """Integers of a product of activations, int32, from its sums and what they lack (see `operations._sums`).

    Args:
        sums: Integers of any number type.
        rows: int32, added to them, or None.
        columns: int32, taken off them, or None.
    """
    integers = sums.to(torch.int32)
    if rows is not None:
        integers = integers + rows
    return integers if columns is None else integers - columns


_kept = threading.local()


def memory(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Memory for what is read at once, int32, not initialized: on a CPU the same for all products of a thread.

    Sums are what takes the most. Freed memory goes back to the system, which clears every page of it when the next sums
    take it: that can cost more than the products.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.int32, device=device)
    size = math.prod(shape)
    held: Tensor | None = getattr(_kept, "sums", None)
    if held is None or held.numel() < size:
        with torch.inference_mode(False):  # else it could not be written to outside that mode
            held = _kept.sums = torch.empty(size, dtype=torch.int32)
    return held[:size].view(shape)


def _matrices(x: Tensor) -> list[Tensor]:
    return [x] if x.ndim == 2 else [matrix for part in x.unbind() for matrix in _matrices(part)]


def less_128(codes: Tensor) -> Tensor:
    """uint8 codes less 128, as int8: the highest bit turned over."""
    return (codes ^ 128).view(torch.int8)


_PREPARATION = 1.25
"""What the ways that cannot take codes as they are cost more beside the product measured: shifts, and sums of both."""


@cache
def fastest(device: str, wide: bool = True) -> str:
    """The fastest way that gives exact sums, measured with a product of the size of a small transformer's.

    Args:
        device: "cpu" or "cuda".
        wide: Whether it has to be exact for integers beyond `LARGEST_NARROW` (weights; products of activations).
    """
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (512, 192), generator=generator, dtype=torch.uint8).to(device)
    low, high = (-128, 127) if wide else (-LARGEST_NARROW, LARGEST_NARROW)
    integers = torch.randint(low, high + 1, (191, 192), generator=generator).double().to(device)
    codes[:2], codes[2:4] = 255, 0  # what saturates first
    integers[:2], integers[2:4] = high, low
    expected = codes.double() @ integers.T
    seconds: dict[str, float] = {}
    for way in (UNSIGNED, SIGNED, FLOAT):
        weight = pack(integers, way)
        try:
            found = _measured(codes, weight)
        except RuntimeError:  # not on this device, or not in this PyTorch
            continue
        restored = multiply(codes, weight)[:, :191].double() + weight.code_shift * weight.sums
        if torch.equal(restored, expected):
            seconds[way] = found if way == UNSIGNED else found * _PREPARATION
    return min(seconds, key=lambda way: seconds[way])


def _measured(codes: Tensor, weight: PackedWeight) -> float:
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        multiply(codes, weight)[0, 0].item()  # .item() waits for a GPU
        best = min(best, time.perf_counter() - start)
    return best
