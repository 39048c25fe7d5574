"""Linear layers and convolutions, each with its quantizer and the activation function before that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from landscape.engine.portable import float32, float64
from landscape.engine.portable.activations import FAST
from landscape.engine.portable.compiling import compiled
from landscape.engine.portable.products import UNSIGNED, PackedWeight, exact_convolution_float, multiply
from landscape.engine.portable.steps import CELLS, CellTable
from landscape.engine.portable.target import FEW, Target, settle
from landscape.engine.portable.values import Bytes
from landscape.graph import Node
from landscape.quant.network import WeightOperand
from landscape.quant.steps import StepTable

_layer = compiled(float64.layer)
_layer_with_activation = compiled(float32.layer_with_activation, one_loop=True)
_depthwise = compiled(float32.depthwise)
_tiles_with_activation = compiled(float64.tiles_with_activation)

_TILE = 8
"""Neighbouring channels whose doubts, a byte each, are looked for as one number of 64 bits."""


@dataclass(frozen=True)
class Layer:
    """A layer that reads codes with one scale and zero point.

    Of a convolution by groups all that is (C,) is (groups, C / groups), and sums are (R, groups, C / groups + 1).

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

    @property
    def outputs(self) -> int:
        """Outputs of a group."""
        return int(self.gain.shape[-1])

    def value(self, sums: Tensor, where: tuple[Tensor, ...] | None = None, tile: int | None = None) -> Tensor:
        """The float64 value from packed sums, as `Reference` computes it.

        Args:
            sums: Packed sums (R, C or more).
            where: Rows (and groups), int64 (n,) each, or None for all.
            tile: If not None, `where` also names tiles of so many channels.

        Returns:
            (R, C), or (n, C), or (n, tile).
        """
        count = self.outputs
        groups = self.gain.ndim > 1
        rows = where if where is None or tile is None else where[:-1]

        def of(vector: Tensor) -> Tensor:
            if where is None:
                return vector
            if tile is not None:
                return vector.reshape(*vector.shape[:-1], -1, tile)[where[1:]]
            return vector[where[1:]] if groups else vector

        def totals() -> Tensor:  # depthwise sums have none, and need none
            found = sums[..., count] if rows is None else sums[..., count][rows]
            return found.double().unsqueeze(-1)

        integers = sums[..., :count]
        if tile is not None:
            integers = integers.unflatten(-1, (-1, tile))  # type: ignore[no-untyped-call]
        integers = (integers if where is None else integers[where]).double()
        integers = integers - of(self.base)
        if self.weight.shift is not None:
            integers = integers + totals() * of(self.weight.shift)
        result = integers * of(self.gain)
        if self.offset is not None:
            result = result + (totals() - self.row_base) * of(self.offset)
        return result if self.bias is None else result + of(self.bias)


def layer_of(weight: PackedWeight, operand: WeightOperand, x: Bytes) -> Layer:
    """A layer for inputs of the scale and zero point of `x`."""
    depth = operand.integers[0].numel()
    # The sums are of codes less code_shift; so is the zero point that the codes are meant to lose.
    zero = x.zero_point - weight.code_shift
    base, shape = weight.sums * zero, weight.sums.shape  # by groups, where the weight is packed so
    return Layer(
        weight,
        depth,
        (operand.gain * x.scale).expand(base.numel()).reshape(shape),
        None if operand.offset is None else (operand.offset * x.scale).expand(base.numel()).reshape(shape),
        None if operand.bias is None else operand.bias.reshape(shape),
        base,
        torch.tensor(depth * zero, dtype=torch.int32, device=base.device),
        float(depth * max(x.zero_point, 255 - x.zero_point)),
    )


def product_layer(depth: int, channels: int, gain: float, device: torch.device) -> Layer:
    """What a product of activations, of integers already, has in common with a layer's."""
    none = torch.zeros(channels, dtype=torch.int32, device=device)
    gains = torch.full((channels,), gain, dtype=torch.float64, device=device)
    return Layer(PackedWeight(none, none, None, UNSIGNED), depth, gains, None, None, none, none[0], 0.0)


class Folded:
    """A layer's value from packed sums with few operations: sums * gain + totals * offset + bias, float64.

    Zero points, and the shift of weights that did not fit into int8, are folded into the offset and the bias.

    Args:
        layer: The layer.
        unit: Scale in whose units the value is, float64 () or (C,).
        zero: Added to it.

    Attributes:
        gain, offset, bias: float64 (C,); the offset None where it is 0.
        magnitudes: float64 (C,), bound of the sum of all magnitudes that go into the value.
    """

    def __init__(self, layer: Layer, unit: Tensor, zero: Tensor | float) -> None:
        bias = torch.zeros_like(layer.gain) if layer.bias is None else layer.bias / unit
        shift, gain = layer.weight.shift, layer.gain / unit
        none = torch.zeros_like(gain)
        # integers = sums - base + totals * shift; value = integers * gain + (totals - row_base) * offset + bias
        of_shift = none if shift is None else shift * gain
        of_totals = none if layer.offset is None else layer.offset / unit
        taken = (layer.base * gain, layer.row_base * of_totals)
        self.gain, self.bias = gain, bias + zero - taken[0] - taken[1]
        self.offset = None if shift is None and layer.offset is None else of_shift + of_totals
        parts = (
            gain.abs() * (layer.depth * 255.0 * 255.0),
            (of_shift.abs() + of_totals.abs()) * (layer.depth * 255.0),
            taken[0].abs(),
            taken[1].abs(),
            bias.abs() + zero,
        )
        self.magnitudes = torch.stack(parts).sum(0)


class Epilogue:
    """From the sums of a layer to the codes of its quantizer.

    Args:
        layer: The layer.
        target: Its quantizer.
    """

    def __init__(self, layer: Layer, target: Target) -> None:
        self.layer, self.target = layer, target
        folded = Folded(layer, target.scale, target.zero_point)
        limit = float64.tie_limit(folded.magnitudes)
        self._parameters = (folded.gain, folded.offset, folded.bias, limit, *target.ends)

    def __call__(self, sums: Tensor) -> Tensor:
        """Codes uint8 (rows, C)."""
        fast = _layer(sums, *self._parameters)
        if fast is None:
            return self.target.exact(self.layer.value(sums))
        return settle(fast, lambda where: self.target.exact(self.layer.value(sums, where)))


class ActivationEpilogue:
    """From the sums of a layer to the codes of the activation function behind it.

    Three steps, each for what the one before does not decide: float32 for everything; float64 for tiles of channels
    with a number near a tie; the step table, as in the reference, for the numbers among these that are nearer still.

    Args:
        layer: The layer.
        target: The quantizer of the activation function.
        function: Name of the activation function.
        steps: Its step table.
    """

    def __init__(self, layer: Layer, target: Target, function: str, steps: StepTable) -> None:
        self.layer, self.target, self.function, self.steps = layer, target, function, steps
        self._cells: CellTable | None = None  # made when there is much to look up
        self.tile = _TILE if layer.outputs % _TILE == 0 else layer.outputs
        if function in FAST:
            self._fast32, self._fast64 = self._parameters32(), self._parameters64()

    def _parameters32(self) -> tuple[Tensor | None, ...]:
        layer, target = self.layer, self.target
        bias = torch.zeros_like(layer.gain) if layer.bias is None else layer.bias
        others = torch.zeros_like(bias) if layer.offset is None else layer.offset.abs() * layer.largest_total
        zero = float(target.zero_point)
        error, relative = float32.activation_bound(self.function, bias.abs() + others, target.step, zero)
        return (
            layer.base,
            layer.weight.shift,
            layer.gain.float(),
            layer.row_base,
            None if layer.offset is None else layer.offset.float(),
            bias.float(),
            error.float(),
            target.number(relative),
            target.inverse,
            target.zero,
            target.highest,
        )

    def _parameters64(self) -> tuple[Tensor | None, ...]:
        target = self.target
        folded = Folded(self.layer, torch.ones_like(target.scale), 0.0)
        zero = float(target.zero_point)
        error, relative = float64.activation_bound(self.function, folded.magnitudes, target.step, zero)
        return (
            self._tiled(folded.gain),
            None if folded.offset is None else self._tiled(folded.offset),
            self._tiled(folded.bias),
            self._tiled(error),
            torch.tensor(relative, dtype=torch.float64, device=error.device),
            1.0 / target.scale,
            target.zero_point,
            *target.ends,
        )

    def _tiled(self, vector: Tensor) -> Tensor:
        return vector.reshape(*vector.shape[:-1], -1, self.tile).contiguous()

    def __call__(self, sums: Tensor) -> Tensor:
        """Codes uint8, in the shape of the layer's value."""
        fast = _layer_with_activation(sums, *self._fast32, self.function) if self.function in FAST else None
        if fast is None:
            return self._codes(self.layer.value(sums))
        codes, doubts = fast
        tiles = doubts.view(torch.int64) if self.tile == _TILE else doubts.amax(-1, keepdim=True)
        parts = codes.view(*tiles.shape, self.tile)
        return settle((parts, tiles), lambda where: self._of_tiles(sums, where)).view(codes.shape)

    def _of_tiles(self, sums: Tensor, where: tuple[Tensor, ...]) -> Tensor:
        """Codes (n, tile) of n tiles: rows, groups if there are any, and tiles of channels."""
        fast = None
        if len(where[0]) > FEW:
            (*rows, tiles), per_row = where, self.layer.outputs // self.tile
            row = rows[0] if len(rows) == 1 else rows[0] * sums.shape[1] + rows[1]
            place = tiles if len(rows) == 1 else rows[1] * per_row + tiles
            fast = _tiles_with_activation(sums.flatten(0, -2), row, tiles, place, *self._fast64, self.function)
        if fast is None:
            return self._codes(self.layer.value(sums, where, self.tile))

        def exact(doubtful: tuple[Tensor, ...]) -> Tensor:
            which, channel = doubtful
            one = (*(index[which] for index in where[:-1]), where[-1][which] * self.tile + channel)
            return self._codes(self.layer.value(sums, one, 1)).squeeze(1)

        return settle(fast, exact)

    def _codes(self, value: Tensor) -> Tensor:
        if value.numel() < CELLS:
            return self.steps(value.contiguous()).to(torch.uint8)
        if self._cells is None:
            self._cells = CellTable(self.steps)
        return self._cells(value)


def is_depthwise(node: Node) -> bool:
    """Whether a convolution has as many outputs as inputs, each of which reads its own channel only."""
    return node.op == "conv2d" and node.weight is not None and node.attrs["groups"] == node.weight.shape[0] > 1


def depthwise_sums(node: Node, layer: Layer, x: Bytes) -> Tensor:
    """Sums (rows, C) of a depthwise convolution's batch."""
    assert node.weight is not None
    a, (height, width) = node.attrs, node.shape[-2:]
    kernel = (int(node.weight.shape[-2]), int(node.weight.shape[-1]))
    stride, dilation = tuple(a["stride"]), tuple(a["dilation"])
    codes, weight = _padded(x, *a["padding"]), layer.weight.matrix
    sums = _depthwise(codes, weight, (height, width), kernel, stride, dilation)
    if sums is None:
        exact = exact_convolution_float(255.0**2 * weight.shape[0], codes.device)
        images, filters = codes.permute(0, 3, 1, 2).to(exact), weight.T.reshape(-1, 1, *kernel).to(exact)
        found = functional.conv2d(images, filters, None, stride, 0, dilation, len(filters))
        sums = found.permute(0, 2, 3, 1).to(torch.int32)
    return sums.reshape(-1, layer.channels)


def grouped_sums(node: Node, layer: Layer, x: Bytes) -> Tensor:
    """Sums (rows, groups, C / groups + 1) of a convolution by groups, each group's totals behind its outputs."""
    a, weight = node.attrs, layer.weight.matrix
    images = _padded(x, *a["padding"]).permute(0, 3, 1, 2).to(weight.dtype)
    found = functional.conv2d(images, weight, None, a["stride"], 0, a["dilation"], a["groups"])
    return found.permute(0, 2, 3, 1).reshape(-1, a["groups"], layer.outputs + 1)


def rows_of(node: Node, x: Bytes) -> Tensor:
    """What the packed weight multiplies: codes (rows, K); for convolutions one row per window, its channels last."""
    assert node.weight is not None
    if node.op == "linear":
        return x.codes.reshape(-1, x.codes.shape[-1])
    a, size, kernel = node.attrs, node.shape[-2:], node.weight.shape[-2:]
    codes = _padded(x, *a["padding"])
    images, down, right, channel = codes.stride()
    steps = (images, down * a["stride"][0], right * a["stride"][1])
    within = (down * a["dilation"][0], right * a["dilation"][1], channel)
    windows = codes.as_strided((len(codes), *size, *kernel, codes.shape[-1]), (*steps, *within))
    return windows.reshape(-1, codes.shape[-1] * kernel.numel())


def _padded(x: Bytes, down: int, right: int) -> Tensor:
    """Codes of images, channels last and padded: (N, H, W, C)."""
    codes = x.codes.permute(0, 2, 3, 1)
    if down or right:
        codes = functional.pad(codes, (0, 0, right, right, down, down), value=x.zero_point)
    return codes.contiguous()  # so that windows are copied many bytes at a time


def shaped(node: Node, x: Bytes, rows: Tensor) -> Tensor:
    """A layer's rows (rows, C), or (rows, groups, C / groups), in the shape of its value."""
    if node.op == "linear":
        return rows.reshape(*x.codes.shape[:-1], rows.shape[-1])
    height, width = node.shape[-2:]
    return rows.reshape(-1, height, width, rows[0].numel()).permute(0, 3, 1, 2)


def sums_of(node: Node, layer: Layer, x: Bytes) -> Tensor:
    """Packed sums of a batch."""
    return multiply(rows_of(node, x).contiguous(), layer.weight)
