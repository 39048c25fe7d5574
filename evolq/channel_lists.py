"""For every weight channel a list of good pairs of scale and zero point, and what exchanging one for another does."""

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
    """Lists of all channels of all layers, one after another: C channels, K entries each.

    Attributes:
        columns: Coordinates of scale and zero point in a point, int64 (C, 2); -1 where the zero point does not move.
        entries: Coordinates of each entry, float64 (C, K, 2).
        chances: Of drawing each entry, float64 (C, K).
        quadratic: 1/2 (w_j - w_i)^T H (w_j - w_i) of entries i and j, float64 (C, K, K), per image.
        layer: Index of each channel's layer, int64 (C,).
    """

    columns: IntArray
    entries: FloatArray
    chances: FloatArray
    quadratic: FloatArray
    layer: IntArray

    def to_dict(self) -> dict[str, Any]:
        """As arrays by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def put(self, point: FloatArray, channels: IntArray, chosen: IntArray) -> None:
        """Write entries of some channels into a point.

        Args:
            point: float64 (dimension,), changed.
            channels: Which.
            chosen: Index of the entry of each.
        """
        for axis in (0, 1):
            columns = self.columns[channels, axis]
            moves = columns >= 0
            point[columns[moves]] = self.entries[channels, chosen, axis][moves]

    def draw(self, channels: IntArray, generator: np.random.Generator) -> IntArray:
        """Draw an entry for each of some channels."""
        levels = np.cumsum(self.chances[channels], axis=1)
        drawn: IntArray = (generator.random((len(channels), 1)) >= levels[:, :-1]).sum(axis=1)
        return drawn


def make_lists(
    space: NetworkSpace,
    metrics: Mapping[str, Metric],
    choices: Sequence[Mapping[str, Choices]],
    images: int,
    spread: float,
) -> tuple[ChannelLists, IntArray]:
    """Lists from what several metrics chose.

    Args:
        space: The search space.
        metrics: Of each layer: the metric of chances and quadratic terms.
        choices: Of each metric, by layer: of the first all entries are taken, of the others the best.
        images: How many images the metric is a sum over.
        spread: Temperature: an entry whose error exceeds the least by this share of it is e times less likely.

    Returns:
        The lists, and the index of the entries that form each proposal, int64 (1 + metrics, C): the start comes first.
    """
    with one_thread():
        parts = [
            _lists_of_layer(space, number, layer, metrics[layer], [choice[layer] for choice in choices], images, spread)
            for number, layer in enumerate(metrics)
        ]
    names = [entry.name for entry in fields(ChannelLists)]
    lists = ChannelLists(**{name: np.concatenate([part[name] for part in parts]) for name in names})
    top = next(iter(choices[0].values())).scale.shape[0]
    # Entry 0 is the start, then the first metric's, the best first, then the best of each other metric.
    seeds = [0, 1, *range(1 + top, top + len(choices))]
    return lists, np.repeat(np.array(seeds)[:, None], len(lists.layer), axis=1)


def _lists_of_layer(
    space: NetworkSpace,
    number: int,
    layer: str,
    metric: Metric,
    choices: Sequence[Choices],
    images: int,
    spread: float,
) -> dict[str, npt.NDArray[Any]]:
    name, network = f"{layer}.weight", space.network
    quantizer = network.weights[layer]
    scale = torch.cat([quantizer.scale[None], choices[0].scale, *(choice.scale[:1] for choice in choices[1:])])
    zero_point = torch.cat(
        [quantizer.zero_point[None], choices[0].zero_point, *(choice.zero_point[:1] for choice in choices[1:])]
    )
    weights = torch.stack([entry_weight(network, layer, s, z) for s, z in zip(scale, zero_point, strict=True)])
    rows = _float_rows(network, layer)
    error = torch.stack([metric.error(weight - rows) for weight in weights]).double().numpy().T / images
    quadratic = np.zeros((len(rows), len(scale), len(scale)))
    for i in range(len(scale)):
        for j in range(i):
            term = metric.error(weights[i] - weights[j]).double().numpy() / (2 * images)
            quadratic[:, i, j] = quadratic[:, j, i] = term
    first = np.arange(space.info.dimension)[space.columns(name)]
    second = np.full_like(first, -1)
    if space.info.integer.any():
        second = np.arange(space.info.dimension)[space.columns(name, zero_point=True)]
    shift = torch.log(scale / quantizer.scale).numpy(), (zero_point - quantizer.zero_point).numpy()
    least = np.maximum(error.min(axis=1, keepdims=True), np.finfo(float).tiny)
    chance = np.exp(-(error - error.min(axis=1, keepdims=True)) / (spread * least))
    return {
        "columns": np.stack([first, second], axis=1),
        "entries": np.stack([shift[0].T, shift[1].T], axis=2),
        "chances": chance / chance.sum(axis=1, keepdims=True),
        "quadratic": quadratic,
        "layer": np.full(len(rows), number),
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
    space: NetworkSpace, lists: ChannelLists, layers: Sequence[str], index: IntArray, slopes: Mapping[str, Tensor]
) -> FloatArray:
    """g^T (w_j - w_i) for the present entry i and every entry j of each channel.

    Args:
        space: The search space.
        lists: The lists.
        layers: Names, in the order of `ChannelLists.layer`.
        index: Present entry of each channel, int64 (C,).
        slopes: Derivative of the loss with respect to each layer's dequantized weight at the present entries.

    Returns:
        float64 (C, K).
    """
    network, parts = space.network, []
    with one_thread():
        for number, layer in enumerate(layers):
            mine = lists.layer == number
            entries, present = torch.from_numpy(lists.entries[mine]), index[mine]
            slope = slopes[layer].flatten(1)
            products = []
            for entry in range(entries.shape[1]):
                scale, zero_point = scales_of(network, layer, entries[:, entry])
                products.append((entry_weight(network, layer, scale, zero_point) * slope).sum(1).double().numpy())
            table = np.stack(products, axis=1)
            parts.append(table - table[np.arange(len(present)), present][:, None])
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
