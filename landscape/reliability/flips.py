"""How far weight scales can move along a direction before codes flip: exact, weight by weight.

Along s exp(t d) a weight's value before rounding is u(t) = (w / s) exp(-t d) + z, monotone in t. It flips when u passes
a border b + 1/2 between two codes, 0 <= b < 2^bits - 1, at t = log((w / s) / (b + 1/2 - z)) / d.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from landscape.quant.network import WeightQuantizer
from landscape.quant.qparams import CodeRange
from landscape.reliability.records import FlipDistance

if TYPE_CHECKING:
    from landscape.problem import Problem

FloatArray = npt.NDArray[np.float64]

SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
"""Shares of the weights whose distances are reported."""

NEAREST_PART = 0.01
"""Of the weights: the spacing of flips is a mean over the nearest ones."""


def distances(problem: Problem, point: Tensor, direction: Tensor) -> FloatArray:
    """Distance t > 0 along s exp(t d) to the first flip of each weight whose scale may move.

    Args:
        problem: Its weight scales; activation scales are passed over.
        point: float64 (dimension,).
        direction: d, float64 (dimension,), in relative coordinates.

    Returns:
        (weights,), infinity for weights that never flip along this direction.
    """
    network = problem.network.with_scales(problem.space.scales(point))
    parts = []
    for name, d in problem.space.scales(direction).items():
        layer = name.removesuffix(".weight")
        if not name.endswith(".weight"):
            continue
        weight = network.graph[layer].weight
        assert weight is not None
        parts.append(weight_distances(weight, network.weights[layer], d))
    return np.concatenate(parts) if parts else np.empty(0)


def weight_distances(weight: Tensor, quantizer: WeightQuantizer, direction: Tensor) -> FloatArray:
    """Distance to the first flip of each weight of one layer.

    Args:
        weight: float64 (out, ...).
        quantizer: Scales (out,), zero points and bits.
        direction: float64 (out,) or one number for all.

    Returns:
        (weights,), in the order of the flattened weight.
    """
    w = weight.flatten(1).numpy()
    s, z, d = (t.reshape(-1, 1).numpy() for t in (quantizer.scale, quantizer.zero_point, direction))
    v, top = w / s, CodeRange(quantizer.bits).qmax
    u = v + z
    rising = d * v < 0  # du/dt = -d v exp(-t d)
    code = np.clip(np.rint(u), 0, top)
    border = np.where(rising, code + 0.5, code - 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = v / (border - z)
        found = np.log(ratio) / d
    possible = (border > 0) & (border < top) & np.isfinite(found) & (found > 0)
    return np.where(possible, found, np.inf).ravel()


def flip_distance(problem: Problem, point: Tensor, direction: Tensor, name: str) -> FlipDistance:
    """The distances of all weights in a few numbers.

    Args:
        problem: Its weight scales.
        point: Where to start.
        direction: Unit RMS.
        name: Of the direction.
    """
    found = np.sort(distances(problem, point, direction))
    count = len(found)
    near = found[: max(2, int(NEAREST_PART * count))]
    near = near[np.isfinite(near)]
    spacing = float((near[-1] - near[0]) / (len(near) - 1)) if len(near) > 1 else float("inf")
    quantiles = {f"{share:g}": float(found[min(count - 1, int(share * count))]) for share in SHARES} if count else {}
    return FlipDistance(name, count, float(found[0]) if count else float("inf"), quantiles, spacing)


def flipped_share(problem: Problem, first: Tensor, second: Tensor) -> float:
    """Share of the weight codes that differ between two points, 0 to 1; NaN where no weight scale may move."""
    networks = [problem.network.with_scales(problem.space.scales(point)) for point in (first, second)]
    changed = total = 0
    for layer in (name.removesuffix(".weight") for name in problem.space.names if name.endswith(".weight")):
        weight = problem.network.graph[layer].weight
        assert weight is not None
        one, other = (network.weights[layer].codes(weight) for network in networks)
        changed += int((one != other).sum())
        total += one.numel()
    return changed / total if total else float("nan")
