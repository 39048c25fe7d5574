"""A layer's weight, from float64 to the kernels' packed bytes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.engine.native.headers import WeightJob, address
from landscape.graph import Node
from landscape.quant.bias_correction import weight_moments
from landscape.quant.network import WeightQuantizer
from landscape.quant.qparams import CodeRange

LANES = 16
"""Outputs side by side in packed weights, as in the kernels."""


@dataclass(frozen=True)
class PreparedWeight:
    """A layer's weight, quantized and packed; see weights.h.

    Attributes:
        packed: int8, codes less `centre`, in groups of 16 outputs and 4 inputs.
        centre: int32 (outputs,).
        code_sums: int32 (outputs,), sums of codes less zero point.
        zero_point: int32 (outputs,).
        gain: float64 (outputs,).
        offset: float64 (outputs,) or None.
        bias: float64 (outputs,) or None.
        depth: Inputs of each output.
    """

    packed: Tensor
    centre: Tensor
    code_sums: Tensor
    zero_point: Tensor
    gain: Tensor
    offset: Tensor | None
    bias: Tensor | None
    depth: int


def prepare_weight(
    kernels: ctypes.CDLL,
    node: Node,
    quantizer: WeightQuantizer,
    bias: Tensor | None,
    moments: tuple[Tensor, Tensor] | None,
) -> PreparedWeight:
    """Quantize, correct and pack a weight.

    Args:
        kernels: The library.
        node: The layer.
        quantizer: Of its weight.
        bias: What stands in place of its bias.
        moments: Of the float weight (`weight_moments`), where they are to be restored.
    """
    assert node.weight is not None
    weight = node.weight.double()
    if node.op == "conv2d":  # as the kernels cut windows: (kernel row, kernel column, channel)
        weight = weight.permute(0, 2, 3, 1)
    weight = weight.flatten(1).contiguous()
    outputs, depth = weight.shape
    scale = quantizer.scale.double().expand(outputs).contiguous()
    zero_point = quantizer.zero_point.double().expand(outputs).contiguous()
    packed = torch.empty(-(-outputs // LANES) * LANES * (-(-depth // 4) * 4), dtype=torch.int8)
    centre, code_sums = torch.empty(outputs, dtype=torch.int32), torch.empty(outputs, dtype=torch.int32)
    gain, offset = torch.empty(outputs, dtype=torch.float64), torch.empty(outputs, dtype=torch.float64)
    mean, deviations = (None, None) if moments is None else moments
    job = WeightJob(
        address(weight), outputs, depth, address(scale), address(zero_point), CodeRange(quantizer.bits).qmax,
        address(mean), address(deviations), address(packed), address(centre), address(code_sums), address(gain),
        address(offset),
    )  # fmt: skip
    kernels.landscape_quantize_weight(ctypes.c_int(torch.get_num_threads()), ctypes.byref(job))
    return PreparedWeight(
        packed, centre, code_sums, zero_point.to(torch.int32), gain, None if moments is None else offset,
        None if bias is None else bias.double().contiguous(), depth,
    )  # fmt: skip


def moments_of(node: Node) -> tuple[Tensor, Tensor]:
    """Mean and squared deviations of a layer's float weight."""
    assert node.weight is not None
    mean, deviations = weight_moments(node.weight)
    return mean.contiguous(), deviations.contiguous()
