"""Operations on one code or two, looked up; see `landscape.engine.tables`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.engine.portable.compiling import compiled
from landscape.engine.portable.target import Target
from landscape.engine.portable.values import Bytes
from landscape.engine.reference import Reference
from landscape.engine.tables import channel_axis, code_table, pair_table
from landscape.graph import Node


def of_codes(reference: Reference, nodes: Sequence[Node], x: Bytes, to: Target) -> Bytes:
    """What the last node, whose quantizer is `to`, makes of codes without factors that the first reads."""

    def made() -> tuple[Tensor]:
        return ((code_table(reference, nodes, x.zero_point, x.scale) + to.zero_point).to(torch.uint8),)

    (table,) = to.once(("table", nodes[0].name, x.scale, x.zero_point), None, made)
    return to.value(look_up(x.codes, table, channel_axis(nodes)))


def of_pairs(reference: Reference, nodes: Sequence[Node], operands: tuple[Bytes, Bytes], to: Target) -> Bytes:
    """What the last node, whose quantizer is `to`, makes of the two codes without factors that the first reads."""
    a, b = ((x.zero_point, x.scale) for x in operands)

    def made() -> tuple[Tensor]:
        return ((pair_table(reference, nodes, a, b) + to.zero_point).to(torch.uint8),)

    (table,) = to.once(("pairs", nodes[0].name, a, b), None, made)
    return to.value(look_up_pairs(operands[0].codes, operands[1].codes, table))


def times(x: Bytes, factor: float) -> Bytes | None:
    """A product with a number: the same codes, or those of the negative, mean something else."""
    if factor == 0:
        return None
    if factor > 0:
        return Bytes(x.codes, x.zero_point, x.scale * factor, x.factors)
    return Bytes(255 - x.codes, 255 - x.zero_point, x.scale * -factor, x.factors)


def look_up(codes: Tensor, table: Tensor, axis: int | None) -> Tensor:
    """What codes turn into, uint8.

    Args:
        codes: uint8.
        table: uint8 (C or 1, 256).
        axis: Of the channels; None where the table is the same for all.
    """
    if axis is None:
        return _found(_alike, table[0], codes)
    shape = [-1 if a == axis else 1 for a in range(codes.ndim)]
    starts = 256 * torch.arange(len(table), device=codes.device).reshape(shape)
    return _found(_by_channel, table.reshape(-1), codes, starts)


def look_up_pairs(a: Tensor, b: Tensor, table: Tensor) -> Tensor:
    """What pairs of codes turn into, uint8; the codes uint8 of shapes that fit, the table uint8 (256, 256)."""
    return _found(_pairs, table.reshape(-1), a, b)


def joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Codes along an axis one after the other; in memory the channels of images stay last where they are."""
    if not all(channels_lie_last(part) for part in parts):
        return torch.cat(list(parts), axis)
    found = torch.cat([part.permute(0, 2, 3, 1) for part in parts], (0, 3, 1, 2)[axis % 4])
    return found.permute(0, 3, 1, 2)


def channels_lie_last(codes: Tensor) -> bool:
    """Whether (N, C, H, W) lies in memory as (N, H, W, C)."""
    return codes.ndim == 4 and not codes.is_contiguous() and codes.permute(0, 2, 3, 1).is_contiguous()


def _found(kernel: Callable[..., Tensor], table: Tensor, *parts: Tensor) -> Tensor:
    """A kernel's result, lying in memory as the first of its parts does."""
    moved = channels_lie_last(parts[0]) and all(part.ndim == 4 for part in parts)
    if moved:
        parts = tuple(part.permute(0, 2, 3, 1) for part in parts)
    fast: Tensor | None = _COMPILED[kernel](table, *parts)
    found = kernel(table, *parts) if fast is None else fast
    return found.permute(0, 3, 1, 2) if moved else found


def _alike(table: Tensor, codes: Tensor) -> Tensor:
    return table[codes.to(torch.int64)]


def _by_channel(table: Tensor, codes: Tensor, starts: Tensor) -> Tensor:
    return table[codes.to(torch.int64) + starts]


def _pairs(table: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return table[a.to(torch.int64) * 256 + b.to(torch.int64)]


_COMPILED = {kernel: compiled(kernel) for kernel in (_alike, _by_channel, _pairs)}
