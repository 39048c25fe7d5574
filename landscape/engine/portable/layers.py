"""Linear layers and convolutions, each with its quantizer and the activation function before that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.portable import float32
from landscape.engine.portable.activations import FAST
from landscape.engine.portable.compiling import compiled
from landscape.engine.portable.float32 import activation_bound, error_bound, sum_of_magnitudes
from landscape.engine.portable.products import PackedWeight, multiply
from landscape.engine.portable.target import Target, settle, tile_of
from landscape.engine.portable.values import Bytes
from landscape.graph import Node
from landscape.quant.network import WeightOperand
from landscape.quant.steps import StepTable

_layer = compiled(float32.layer)
_layer_with_activation = compiled(float32.layer_with_activation)


@dataclass(frozen=True)
class Layer:
    """A layer that reads codes with one scale and zero point.

    Attributes:
        weight: Packed.
        depth: Products per sum, K.
        gain: float64 (C,): scale of the products.
        offset: float64 (C,) that multiplies the sum of the inputs, or None.
        bias: float64 (C,) or None.
        base: int32 (C,), taken off the packed sums.
        row_base: int32 (), taken off the sum of a row's codes.
        largest_total: Bound of the magnitude of that difference.
    """

    weight: PackedWeight
    depth: int
    gain: Tensor
    offset: Tensor | None
    bias: Tensor | None
    base: Tensor
    row_base: Tensor
    largest_total: float

    @property
    def channels(self) -> int:
        """Outputs."""
        return self.gain.numel()

    def value(self, sums: Tensor, where: tuple[Tensor, ...] | None = None, tile: int = 1) -> Tensor:
        """The float64 value from packed sums, as `Reference` computes it.

        Args:
            sums: Packed sums (R, C or more).
            where: Rows and tiles of channels, int64 (n,) each, or None for all.
            tile: Channels in a tile.

        Returns:
            (R, C), or (n, tile).
        """
        count = self.channels
        if where is None:
            totals, integers = sums[:, count : count + 1].double(), sums[:, :count].double()
        else:
            rows, tiles = where
            totals = sums[rows, count].double().unsqueeze(1)
            integers = sums[:, :count].view(sums.shape[0], -1, tile)[rows, tiles].double()

        def of(vector: Tensor) -> Tensor:
            return vector if where is None else vector.view(-1, tile)[where[1]]

        integers = integers - of(self.base)
        if self.weight.shift is not None:
            integers = integers + totals * of(self.weight.shift)
        result = integers * of(self.gain)
        if self.offset is not None:
            result = result + (totals - self.row_base) * of(self.offset)
        return result if self.bias is None else result + of(self.bias)


def layer_of(weight: PackedWeight, operand: WeightOperand, x: Bytes) -> Layer:
    """A layer for inputs of the scale and zero point of `x`."""
    depth = operand.integers[0].numel()
    # The sums are of codes less code_shift; so is the zero point that the codes are meant to lose.
    zero = x.zero_point - weight.code_shift
    base = weight.sums * zero
    return Layer(
        weight,
        depth,
        operand.gain * x.scale,
        None if operand.offset is None else operand.offset * x.scale,
        operand.bias,
        base,
        torch.tensor(depth * zero, dtype=torch.int32, device=base.device),
        float(depth * max(x.zero_point, 255 - x.zero_point)),
    )


class Epilogue:
    """From the sums of a layer to the codes of its quantizer: float32 parameters, and float64 for what is doubtful.

    Args:
        layer: The layer.
        target: Its quantizer, or that of the activation function behind it.
        function: Name of that activation function.
        steps: Its step table.
    """

    def __init__(self, layer: Layer, target: Target, function: str | None, steps: StepTable | None) -> None:
        self.layer, self.target, self.function, self.steps = layer, target, function, steps
        self.tile = tile_of(layer.channels)
        unit = target.scale if function is None else torch.ones_like(target.scale)
        bias = torch.zeros_like(layer.gain) if layer.bias is None else layer.bias
        bias = bias / unit + (target.zero_point if function is None else 0.0)
        shift, offset = layer.weight.shift, layer.offset
        others = torch.zeros_like(bias) if offset is None else (offset / unit).abs() * layer.largest_total
        relative = 0.0
        if function is None:
            error = error_bound(5, sum_of_magnitudes(bias, others))
        elif function in FAST:
            error, relative = activation_bound(function, bias.abs() + others, target.step, float(target.zero_point))
        else:
            error = others

        def tiled(vector: Tensor) -> Tensor:
            return vector.reshape(-1, self.tile).contiguous()

        self._parameters = (
            tiled(layer.base),
            None if shift is None else tiled(shift),
            tiled((layer.gain / unit).float()),
            layer.row_base,
            None if offset is None else tiled((offset / unit).float()),
            tiled(bias.float()),
            tiled(error.float()),
        )
        self._relative = target.number(relative)

    def __call__(self, sums: Tensor) -> Tensor:
        """Codes uint8 (rows, C)."""
        fast = self._fast(sums)
        if fast is None:
            return self._codes(self.layer.value(sums), None)

        def exact(where: tuple[Tensor, ...]) -> Tensor:
            return self._codes(self.layer.value(sums, where, self.tile), where[1])

        return settle(fast, exact).reshape(sums.shape[0], -1)

    def _fast(self, sums: Tensor) -> tuple[Tensor, Tensor] | None:
        t, found = self.target, None
        if self.function is None:
            found = _layer(sums, *self._parameters, t.highest)
        elif self.function in FAST:
            found = _layer_with_activation(
                sums, *self._parameters, self._relative, t.inverse, t.zero, t.highest, self.function
            )
        return found

    def _codes(self, value: Tensor, tiles: Tensor | None) -> Tensor:
        if self.steps is not None:
            return self.steps(value.contiguous()).to(torch.uint8)
        return self.target.exact(value, tiles)


def rows_of(node: Node, x: Bytes) -> Tensor:
    """What the packed weight multiplies: codes (rows, K); for convolutions one row per window."""
    assert node.weight is not None
    if node.op == "linear":
        return x.codes.reshape(-1, x.codes.shape[-1])
    a = node.attrs
    (top, left), (down, right), (high, wide) = a["padding"], a["stride"], a["dilation"]
    codes, (kernel_height, kernel_width) = x.codes, node.weight.shape[-2:]
    if top or left:
        codes = functional.pad(codes, (left, left, top, top), value=x.zero_point)
    if (kernel_height, kernel_width) == (1, 1):
        return codes[:, :, ::down, ::right].permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
    windows = codes.unfold(2, high * (kernel_height - 1) + 1, down).unfold(3, wide * (kernel_width - 1) + 1, right)
    windows = windows[..., ::high, ::wide].permute(0, 2, 3, 1, 4, 5)
    return windows.reshape(-1, node.weight[0].numel())


def shaped(node: Node, x: Bytes, rows: Tensor) -> Tensor:
    """A layer's rows (rows, C) in the shape of its value."""
    if node.op == "linear":
        return rows.reshape(*x.codes.shape[:-1], rows.shape[-1])
    height, width = node.shape[-2:]
    return rows.reshape(-1, height, width, rows.shape[-1]).permute(0, 3, 1, 2)


def sums_of(node: Node, layer: Layer, x: Bytes) -> Tensor:
    """Packed sums of a batch."""
    return multiply(rows_of(node, x).contiguous(), layer.weight)
