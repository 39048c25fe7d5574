"""For every weight channel a list of good pairs of scale and zero point, and what a gradient says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evolq.layerwise import Choices, Metric, dequantized
from evolq.space import FloatArray, NetworkSpace
from landscape.losses import one_thread
from landscape.quant.network import QuantizedNetwork
from landscape.quant.qparams import CodeRange

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChannelLists:
    """Lists of all channels of all layers, one after another: C channels, K entries each, the first is the start.

    Attributes:
        columns: Coordinates of scale and zero point in a point, int64 (C, 2); -1 where the zero point does not move.
        entries: Coordinates of each entry, float64 (C, K, 2).
        error: 1/2 (w_j - w)^T H (w_j - w) of entry j, with the float weight w, float64 (C, K), per image.
        layer: Index of each channel's layer, int64 (C,).
    """

    columns: IntArray
    entries: FloatArray
    error: FloatArray
    layer: IntArray

    def to_dict(self) -> dict[str, Any]:
        """As arrays by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def put(self, point: FloatArray, chosen: IntArray) -> None:
        """Write one entry of every channel into a point.

        Args:
            point: float64 (dimension,), changed.
            chosen: Index of the entry of each, int64 (C,).
        """
        for axis in (0, 1):
            columns = self.columns[:, axis]
            moves = columns >= 0
            point[columns[moves]] = self.entries[np.arange(len(chosen)), chosen, axis][moves]

    def draw(self, channels: IntArray, slopes: FloatArray, spread: float, generator: np.random.Generator) -> IntArray:
        """Draw an entry for each of some channels: entry j with a chance in proportion to exp(-E_j / T).

        E is `error` + `slopes`, and the temperature T is `spread` times the channel's least error.

        Args:
            channels: Indices.
            slopes: What else an entry is worth, float64 (C, K).
            spread: Above 0.
            generator: Source of randomness.
        """
        error = self.error[channels]
        energy = error + slopes[channels]
        above = energy - energy.min(axis=1, keepdims=True)
        least = np.maximum(error.min(axis=1, keepdims=True), np.finfo(float).tiny)
        with np.errstate(over="ignore"):  # exp(-inf) is the zero that is meant
            chances = np.exp(-above / (spread * least))
        levels = np.cumsum(chances / chances.sum(axis=1, keepdims=True), axis=1)
        drawn: IntArray = (generator.random((len(channels), 1)) >= levels[:, :-1]).sum(axis=1)
        return drawn


def make_lists(
    space: NetworkSpace, metrics: Mapping[str, Metric], choices: Mapping[str, Choices], images: int
) -> ChannelLists:
    """Lists of what a metric chose: the start, then its choices, the best first.

    Args:
        space: The search space.
        metrics: Of each layer.
        choices: What they chose.
        images: How many images the metrics are sums over.
    """
    with one_thread():
        parts = [
            _lists_of_layer(space, number, layer, metric, choices[layer], images)
            for number, (layer, metric) in enumerate(metrics.items())
        ]
    names = [entry.name for entry in fields(ChannelLists)]
    return ChannelLists(**{name: np.concatenate([part[name] for part in parts]) for name in names})


def _lists_of_layer(
    space: NetworkSpace, number: int, layer: str, metric: Metric, choices: Choices, images: int
) -> dict[str, npt.NDArray[Any]]:
    name, network = f"{layer}.weight", space.network
    quantizer = network.weights[layer]
    scale = torch.cat([quantizer.scale[None], choices.scale])
    zero_point = torch.cat([quantizer.zero_point[None], choices.zero_point])
    error = torch.cat([choices.start[None], choices.error]).numpy().T / (2 * images)
    first = np.arange(space.info.dimension)[space.columns(name)]
    second = np.full_like(first, -1)
    if space.info.integer.any():
        second = np.arange(space.info.dimension)[space.columns(name, zero_point=True)]
    shift = torch.log(scale / quantizer.scale).numpy(), (zero_point - quantizer.zero_point).numpy()
    return {
        "columns": np.stack([first, second], axis=1),
        "entries": np.stack([shift[0].T, shift[1].T], axis=2),
        "error": error,
        "layer": np.full(len(first), number),
    }


def _float_rows(network: QuantizedNetwork, layer: str) -> Tensor:
    weight = network.graph[layer].weight
    assert weight is not None
    return weight.flatten(1).float()


def entry_weight(network: QuantizedNetwork, layer: str, scale: Tensor, zero_point: Tensor) -> Tensor:
    """The dequantized weight of a layer at other scales and zero points, float32 (out, in)."""
    highest = CodeRange(network.weights[layer].bits).qmax
    corrected = network.scheme.bias_correction == "weight"
    return dequantized(_float_rows(network, layer), scale, zero_point, highest, corrected)


def linear_terms(
    space: NetworkSpace, lists: ChannelLists, layers: Sequence[str], slopes: Mapping[str, Tensor]
) -> FloatArray:
    """g^T (w_j - w_0) for every entry j of each channel.

    Args:
        space: The search space.
        lists: The lists.
        layers: Names, in the order of `ChannelLists.layer`.
        slopes: g, the derivative of the loss with respect to each layer's dequantized weight.

    Returns:
        float64 (C, K).
    """
    network, parts = space.network, []
    with one_thread():
        for number, layer in enumerate(layers):
            entries = torch.from_numpy(lists.entries[lists.layer == number])
            slope = slopes[layer].flatten(1)
            products = []
            for entry in range(entries.shape[1]):
                scale, zero_point = scales_of(network, layer, entries[:, entry])
                products.append((entry_weight(network, layer, scale, zero_point) * slope).sum(1).double().numpy())
            parts.append(np.stack(products, axis=1) - products[0][:, None])
    return np.concatenate(parts)


def scales_of(network: QuantizedNetwork, layer: str, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of entries, float64 (out, 2), of a layer's channels."""
    quantizer = network.weights[layer]
    return quantizer.scale * torch.exp(entries[:, 0]), quantizer.zero_point + entries[:, 1]


def present_weights(
    space: NetworkSpace, lists: ChannelLists, layers: Sequence[str], index: IntArray
) -> dict[str, Tensor]:
    """The dequantized weights at the present entries, float32, in the layers' own shapes."""
    network, weights = space.network, {}
    for number, layer in enumerate(layers):
        mine = np.flatnonzero(lists.layer == number)
        scale, zero_point = scales_of(network, layer, torch.from_numpy(lists.entries[mine, index[mine]]))
        shape = network.graph[layer].weight
        assert shape is not None
        weights[layer] = entry_weight(network, layer, scale, zero_point).reshape(shape.shape)
    return weights
