"""Quantizers as C structures, and structures with the tensors that they point into."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import torch

from landscape.quant.network import ActivationQuantizer

_Pointer, _Double = ctypes.c_void_p, ctypes.c_double


class Quantizer(ctypes.Structure):
    """See `Quantizer` in the kernels."""

    _fields_ = (
        ("scale", _Pointer), ("inverse", _Pointer), ("factor", _Pointer), ("zero_point", _Double), ("highest", _Double),
        ("lowest", _Double),
    )  # fmt: skip


@dataclass(frozen=True)
class Held:
    """A C structure with the tensors that it points into, so that they live as long.

    Attributes:
        struct: The structure.
        tensors: What it points into: tensors, and other structures.
    """

    struct: Any
    tensors: tuple[Any, ...]

    @property
    def pointer(self) -> Any:
        """To pass to a kernel."""
        return ctypes.byref(self.struct)


def in_rows(quantizer: ActivationQuantizer) -> ActivationQuantizer:
    """A quantizer as kernels have it: its channels lie side by side, whichever axis they are in the value."""
    return quantizer if quantizer.exponents is None else replace(quantizer, channel_axis=-1)


def quantizer_struct(quantizer: ActivationQuantizer) -> Held:
    """An activation quantizer for the kernels."""
    factors = in_rows(quantizer).factors(1)
    scale = (quantizer.scale if factors is None else quantizer.scale * factors).reshape(-1).contiguous()
    inverse = 1.0 / scale
    factor = scale.new_zeros(0) if factors is None else factors.to(torch.int32).contiguous()
    pointer = None if factors is None else factor.data_ptr()
    struct = Quantizer(
        scale.data_ptr(), inverse.data_ptr(), pointer, float(quantizer.zero_point), float(2**quantizer.bits - 1)
    )
    return Held(struct, (scale, inverse, factor))
