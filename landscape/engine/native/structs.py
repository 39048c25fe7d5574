"""The C structures of the kernels, and the tensors that they point into."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.quant.network import ActivationQuantizer, WeightOperand
from landscape.quant.steps import StepTable

LANES = 16
"""Outputs side by side in packed weights, as in the kernels."""

_CELLS = 1 << 13
"""Cells of the grid that finds an argument's step: several per step, so hardly any cell holds two thresholds."""

_Pointer, _Index, _Int, _Double = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double


class Quantizer(ctypes.Structure):
    """See `Quantizer` in the kernels."""

    _fields_ = (
        ("scale", _Pointer), ("inverse", _Pointer), ("factor", _Pointer), ("zero_point", _Double), ("highest", _Double),
        ("lowest", _Double),
    )  # fmt: skip


class Operand(ctypes.Structure):
    """See `Operand` in the kernels."""

    _fields_ = (("values", _Pointer), ("wide", _Int), ("zero", _Double), ("scale", _Double), ("period", _Index))


class Layer(ctypes.Structure):
    """See `Layer` in the kernels."""

    _fields_ = (
        ("depth", _Index), ("outputs", _Index), ("zero", _Int), ("weights", _Pointer), ("code_sums", _Pointer),
        ("zeros", _Pointer), ("gain", _Pointer), ("offset", _Pointer), ("bias", _Pointer),
    )  # fmt: skip


class Steps(ctypes.Structure):
    """See `Steps` in the kernels."""

    _fields_ = (
        ("thresholds", _Pointer), ("codes", _Pointer), ("first", _Pointer), ("low", _Double), ("per_unit", _Double),
        ("cells", _Index),
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


def quantizer_struct(quantizer: ActivationQuantizer) -> Held:
    """An activation quantizer for the kernels."""
    factors = quantizer.factors(1)
    scale = (quantizer.scale if factors is None else quantizer.scale * factors).reshape(-1).contiguous()
    inverse = 1.0 / scale
    factor = scale.new_zeros(0) if factors is None else factors.to(torch.int32).contiguous()
    pointer = None if factors is None else factor.data_ptr()
    struct = Quantizer(
        scale.data_ptr(), inverse.data_ptr(), pointer, float(quantizer.zero_point), float(2**quantizer.bits - 1)
    )
    return Held(struct, (scale, inverse, factor))


def steps_struct(kernels: ctypes.CDLL, table: StepTable) -> Held:
    """A step table with the grid that finds an argument's step."""
    finite = table.thresholds.contiguous()
    low, high = (float(finite[0]), float(finite[-1])) if finite.numel() else (0.0, 1.0)
    per_unit = (_CELLS - 1) / max(high - low, torch.finfo(torch.float64).tiny)
    if not 0.0 < per_unit < float("inf"):
        per_unit = 1.0
    cells = torch.empty(finite.numel(), dtype=torch.int64)
    kernels.landscape_cells(
        _Pointer(finite.data_ptr()), _Index(finite.numel()), _Double(low), _Double(per_unit), _Index(_CELLS),
        _Pointer(cells.data_ptr()),
    )  # fmt: skip
    first = torch.searchsorted(cells, torch.arange(_CELLS)).to(torch.uint16)
    thresholds = torch.cat([finite, torch.full((2,), float("inf"), dtype=torch.float64)])
    codes = table.codes.to(torch.uint8)
    struct = Steps(thresholds.data_ptr(), codes.data_ptr(), first.data_ptr(), low, per_unit, _CELLS)
    return Held(struct, (thresholds, codes, first))


@dataclass(frozen=True)
class PackedWeight:
    """A layer's weight in the kernels' layout.

    Attributes:
        weights: int8, codes in groups of 16 outputs and 4 inputs.
        code_sums: int32 (outputs, padded).
        zeros: int32 (outputs, padded), zero points.
    """

    weights: Tensor
    code_sums: Tensor
    zeros: Tensor


def pack_weight(kernels: ctypes.CDLL, operand: WeightOperand, zero_point: Tensor) -> PackedWeight:
    """Pack a weight (out, ...)."""
    codes = (operand.integers.flatten(1) + zero_point[:, None]).to(torch.uint8).contiguous()
    outputs, depth = codes.shape
    padded = -(-outputs // LANES) * LANES
    weights = torch.empty(padded * (-(-depth // 4) * 4), dtype=torch.int8)
    sums, zeros = torch.empty(padded, dtype=torch.int32), torch.zeros(padded, dtype=torch.int32)
    zeros[:outputs] = zero_point.to(torch.int32)
    kernels.landscape_pack(
        _Pointer(codes.data_ptr()), _Index(outputs), _Index(depth), _Pointer(weights.data_ptr()),
        _Pointer(sums.data_ptr()),
    )  # fmt: skip
    return PackedWeight(weights, sums, zeros)


def layer_struct(packed: PackedWeight, operand: WeightOperand, scale: float, zero_point: int) -> Held:
    """A layer with activations of a scale and zero point; gain and offset as the reference multiplies them."""
    gain = (operand.gain * scale).contiguous()
    offset = None if operand.offset is None else (operand.offset * scale).contiguous()
    bias = None if operand.bias is None else operand.bias.double().contiguous()
    tensors = [packed.weights, packed.code_sums, packed.zeros, gain, *(t for t in (offset, bias) if t is not None)]
    depth = operand.integers[0].numel()
    struct = Layer(
        depth, gain.numel(), zero_point, packed.weights.data_ptr(), packed.code_sums.data_ptr(),
        packed.zeros.data_ptr(), gain.data_ptr(), None if offset is None else offset.data_ptr(),
        None if bias is None else bias.data_ptr(),
    )  # fmt: skip
    return Held(struct, tuple(tensors))


def operand_struct(values: Tensor, zero: int, scale: float) -> Held:
    """A contiguous uint8 or int16 tensor as an operand of elementwise operations."""
    return Held(Operand(values.data_ptr(), values.dtype == torch.int16, zero, scale, values.numel()), (values,))
