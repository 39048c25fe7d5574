r"""Proposals for weight scales and zero points from second-order estimates, layer by layer, channel by channel.

A change dW of a layer's weight changes the loss by about 1/2 sum_o dw_o^T H_o dw_o, where H_o is the Gauss-Newton
matrix of the float network for output channel o. With x what the layer reads at a position, and g_o the derivative of
-log p at its output o (labels drawn from p), H_o = E[g_o^2 x x^T]. The metrics keep more or less of it:

================  ============================  ==============================================================
name              H_o                           source
================  ============================  ==============================================================
``diagonal``      diag_j E[g_o^2 x_j^2]         diagonal Fisher matrix of the weights
``inputs``        E[x x^T]                      squared error of the layer's output (AdaRound, GPTQ)
``tokens``        E[(mean_o g_o^2) x x^T]       the same, positions weighted by what they matter (ours)
``outputs``       E[g_o^2 x x^T]                PTQ4ViT (Yuan et al., ECCV 2022, arXiv 2111.12293, eq. 7)
================  ============================  ==============================================================

For each channel the scale and zero point of least dw_o^T H_o dw_o are found on a grid; channels do not interact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evolq.float_pass import LayerBatch, layer_batches
from landscape.errors import UserError
from landscape.images import ImageSet
from landscape.losses import one_thread
from landscape.quant.network import QuantizedNetwork
from landscape.quant.qparams import CodeRange

METRICS = ("diagonal", "inputs", "tokens", "outputs")
KEPT_ROWS = 4096
"""Positions that are kept of each layer for the metric ``outputs``, whose matrices would be too many."""

PASS_COST = {"inputs": 1, "diagonal": 3, "tokens": 3, "outputs": 3}
"""Images that each image counts as: a forward pass, or forward and backward."""


@dataclass(frozen=True)
class Grid:
    """Scales and zero points that are tried for each channel.

    Attributes:
        smallest: Smallest factor of the scale.
        largest: Largest.
        steps: Factors between them, evenly spaced.
        zero_points: Largest shift of the zero point, in codes; 0 keeps them.
    """

    smallest: float = 0.55
    largest: float = 1.45
    steps: int = 25
    zero_points: int = 2

    def factors(self) -> list[float]:
        """The factors; 1, the start, is the first."""
        return [1.0, *np.linspace(self.smallest, self.largest, self.steps).tolist()]

    def shifts(self) -> list[int]:
        """The shifts of the zero point, the smallest first."""
        return sorted(range(-self.zero_points, self.zero_points + 1), key=abs)


@dataclass(frozen=True)
class Choices:
    """The best scales and zero points of one layer's channels.

    Attributes:
        scale: float64 (top, out), the best first.
        zero_point: float64 (top, out).
        error: dw^T H dw, float64 (top, out), ascending along the first axis.
        start: The same of the network as it is, float64 (out,).
    """

    scale: Tensor
    zero_point: Tensor
    error: Tensor
    start: Tensor


class Metric:
    """dw_o^T H_o dw_o of one layer, summed up over batches."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._sum: Tensor | None = None
        self._inputs: list[Tensor] = []
        self._weights: list[Tensor] = []

    def add(self, batch: LayerBatch) -> None:
        """Take a batch in."""
        x, g = batch.inputs, batch.gradients
        if self.kind == "inputs":
            self._plus(x.transpose(1, 2) @ x)
            return
        assert g is not None
        if self.kind == "diagonal":
            self._plus(g.square().transpose(1, 2) @ x.square())
        elif self.kind == "tokens":
            self._plus((x * g.square().mean(2, keepdim=True)).transpose(1, 2) @ x)
        else:
            self._inputs.append(x)
            self._weights.append(g.square())

    def _plus(self, part: Tensor) -> None:
        self._sum = part.detach() if self._sum is None else self._sum + part.detach()

    def thin(self, rows: int, generator: torch.Generator) -> None:
        """Keep a random part of the positions, where positions are kept at all."""
        if self._inputs:
            x, w = torch.cat(self._inputs, 1), torch.cat(self._weights, 1)
            chosen = torch.randperm(x.shape[1], generator=generator)[:rows]
            self._inputs, self._weights = [x[:, chosen]], [w[:, chosen]]

    def error(self, difference: Tensor) -> Tensor:
        """dw^T H dw for each output channel.

        Args:
            difference: dW, float32 (out, in).

        Returns:
            float32 (out,).
        """
        if self._inputs:
            x, w = torch.cat(self._inputs, 1), torch.cat(self._weights, 1)
            split = difference.reshape(x.shape[0], -1, x.shape[2])
            return ((x @ split.transpose(1, 2)).square() * w).sum(1).reshape(-1)
        assert self._sum is not None
        groups, _, depth = self._sum.shape
        split = difference.reshape(groups, -1, depth)
        if self.kind == "diagonal":
            return (split.square() * self._sum.reshape(split.shape)).sum(2).reshape(-1)
        return ((split @ self._sum) * split).sum(2).reshape(-1)


def collect(
    network: QuantizedNetwork, images: ImageSet, kind: str, layers: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Metric]:
    """The metric of every layer.

    Args:
        network: Its float graph is what runs.
        images: N images; each counts `PASS_COST`.
        kind: One of `METRICS`.
        layers: Names; None for all layers whose weight is quantized.
        seed: Of the labels and of the positions that are kept.

    Raises:
        UserError: The metric is unknown.
    """
    if kind not in METRICS:
        raise UserError(f"unknown metric {kind!r}; give one of {', '.join(METRICS)}")
    wanted = set(network.weights if layers is None else layers)
    metrics = {name: Metric(kind) for name in network.weights if name in wanted}
    generator = torch.Generator().manual_seed(seed)
    for batches in layer_batches(network.graph, images, kind != "inputs", seed):
        for batch in batches:
            if batch.node.name in metrics:
                metrics[batch.node.name].add(batch)
                metrics[batch.node.name].thin(KEPT_ROWS, generator)
    return metrics


def choose(network: QuantizedNetwork, layer: str, metric: Metric, grid: Grid, top: int = 1) -> Choices:
    """The best scales and zero points of a layer's channels on the grid.

    Args:
        network: The start: scale and zero point around which the grid lies.
        layer: Name.
        metric: Of this layer.
        grid: What is tried.
        top: How many are kept for each channel; of equals the one nearest the start.
    """
    node, quantizer = network.graph[layer], network.weights[layer]
    assert node.weight is not None
    rows = node.weight.flatten(1).float()
    highest = CodeRange(quantizer.bits).qmax
    corrected = network.scheme.bias_correction == "weight"
    errors, scales, zero_points = [], [], []
    for shift in grid.shifts():
        zero_point = (quantizer.zero_point + shift).clamp(0, highest)
        for factor in grid.factors():
            scale = quantizer.scale * factor
            errors.append(metric.error(dequantized(rows, scale, zero_point, highest, corrected) - rows))
            scales.append(scale)
            zero_points.append(zero_point)
    table = torch.stack(errors).double()
    order = _distinct(table, top)
    pick = [torch.stack(values).gather(0, order) for values in (scales, zero_points)]
    return Choices(pick[0], pick[1], table.gather(0, order), table[0])


def _distinct(table: Tensor, top: int) -> Tensor:
    """Rows of the least errors of each column; those that have the same codes as one before come last.

    Neighbouring factors often give the same codes, and then the same error but for rounding.
    """
    found = torch.sort(table, dim=0, stable=True)
    again = torch.zeros_like(found.values, dtype=torch.bool)
    again[1:] = found.values[1:] - found.values[:-1] <= 1e-6 * found.values[1:]
    behind = torch.sort(again.to(torch.uint8), dim=0, stable=True).indices[:top]
    return found.indices.gather(0, behind)


def dequantized(rows: Tensor, scale: Tensor, zero_point: Tensor, highest: int, corrected: bool) -> Tensor:
    """The dequantized weight in float32: fast, and good enough to propose; what is proposed is measured exactly.

    Args:
        rows: Float weight, float32 (out, in).
        scale: float64 (out,).
        zero_point: float64 (out,).
        highest: The largest code.
        corrected: Whether each row gets the float row's mean and standard deviation (**released** correction).
    """
    s, z = scale.float().unsqueeze(1), zero_point.float().unsqueeze(1)
    integers = torch.round(rows / s + z).clamp_(0, highest).sub_(z)
    if not corrected:
        return integers * s
    variance, mean = torch.var_mean(integers, 1, correction=0, keepdim=True)
    wanted, centre = torch.var_mean(rows, 1, correction=0, keepdim=True)
    gain = torch.where(variance > 0, torch.sqrt(wanted / variance), s)
    return (integers - mean) * gain + centre


def choose_all(
    network: QuantizedNetwork, metrics: Mapping[str, Metric], grid: Grid, top: int = 1
) -> dict[str, Choices]:
    """`choose` for every layer that has a metric; on one thread, for its operations are too small to share out."""
    with one_thread():
        return {layer: choose(network, layer, metric, grid, top) for layer, metric in metrics.items()}
