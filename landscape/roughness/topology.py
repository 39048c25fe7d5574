"""Sub-level sets of a surface: its merge tree, the persistence of its minima, and SMAD.

Points of the grid are neighbours along the axes (4 in a plane), and an edge exists from the larger of its two values
on. Missing points and their edges do not exist at any level, which may leave several components for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from landscape.bootstrap import FloatArray


@dataclass(frozen=True)
class MergeTree:
    """What happens as the level rises.

    Attributes:
        pairs: (birth, death) of each component, by the elder rule: where two meet, the one with the higher minimum
            dies. Those that never die have death infinity. Components that are born and die at one level are not
            listed.
        arcs: Length of the arc from each minimum up to the saddle where its component first meets another. A minimum
            that meets none has none.
    """

    pairs: tuple[tuple[float, float], ...]
    arcs: tuple[float, ...]


def merge_tree(values: FloatArray) -> MergeTree:
    """The merge tree of the sub-level sets {v <= level}, by union-find over the points in order of their values.

    Args:
        values: Shape (n,) or (n, m); NaN where a point is missing.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    order = np.argsort(flat, kind="stable")[: int((~np.isnan(flat)).sum())].tolist()
    levels, around = flat.tolist(), _neighbours(np.shape(values))
    parent, rank = [-1] * len(levels), [0] * len(levels)
    low: dict[int, float] = {}
    alone: dict[int, bool] = {}
    pairs: list[tuple[float, float]] = []
    arcs: list[float] = []
    for step, point in enumerate(order):
        level, rank[point] = levels[point], step
        root = -1
        for other in around[point]:
            if parent[other] < 0:
                continue
            found = _root(parent, other)
            if root < 0:
                root = parent[point] = found
            elif found != root:
                elder, younger = (root, found) if rank[root] < rank[found] else (found, root)
                if low[younger] < level:
                    pairs.append((low[younger], level))
                    arcs += [level - low[part] for part in (elder, younger) if alone[part]]
                    alone[elder] = False
                parent[younger] = root = elder
        if root < 0:
            parent[point], low[point], alone[point] = point, level, True
    pairs += [(low[root], math.inf) for root in low if parent[root] == root]
    return MergeTree(tuple(sorted(pairs, key=lambda pair: (pair[0] - pair[1], pair[0]))), tuple(arcs))


def persistence_diagram(values: FloatArray) -> tuple[tuple[float, float], ...]:
    """(birth, death) of the minima's basins, the most persistent first (Edelsbrunner, Letscher and Zomorodian 2002).

    0-dimensional persistent homology of the sub-level sets. The lowest minimum never dies: its death is infinite.
    In the value's unit. `gudhi_diagram` is an independent implementation.

    Args:
        values: Shape (n,) or (n, m); NaN where a point is missing.
    """
    return merge_tree(values).pairs


def count_minima(values: FloatArray, threshold: float) -> int:
    """Number of local minima whose basin is deeper than `threshold`, in the value's unit; a plateau counts once.

    Args:
        values: Shape (n,) or (n, m); NaN where a point is missing.
        threshold: Persistence (death - birth) that a minimum must exceed; the lowest always does.
    """
    return sum(death - birth > threshold for birth, death in merge_tree(values).pairs)


def smad(values: FloatArray) -> float:
    """Saddle-minimum average distance, in the value's unit; 0 for a surface with a single minimum.

    The mean length of the merge tree's arcs between a minimum and the saddle where its basin first meets another, as
    Landscaper (Chen et al. 2026, arXiv 2602.07135) defines it for the sub-level tree, unweighted and not normalised. It
    differs from the mean persistence, in which a deep basin counts up to the saddle where it meets a deeper one.
    Landscaper connects the points of its grid by an empty-region graph; here the grid's own neighbours are used
    (**ours**).

    Args:
        values: Shape (n,) or (n, m); NaN where a point is missing.
    """
    arcs = merge_tree(values).arcs
    return float(np.mean(arcs)) if arcs else 0.0


def gudhi_diagram(values: FloatArray) -> tuple[tuple[float, float], ...]:
    """The diagram by gudhi's cubical complex, in the order of `persistence_diagram`.

    Raises:
        ImportError: Without gudhi, which is in the extra ``topology``.
    """
    try:
        from gudhi import CubicalComplex  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("gudhi is not installed; pip install 'evolq-landscape[topology]'") from error
    filled = np.where(np.isnan(values), np.inf, values)
    complex_ = CubicalComplex(vertices=filled)
    pairs = [(birth, death) for dimension, (birth, death) in complex_.persistence() if dimension == 0]
    kept = [(float(birth), float(death)) for birth, death in pairs if math.isfinite(birth) and birth < death]
    return tuple(sorted(kept, key=lambda pair: (pair[0] - pair[1], pair[0])))


def _root(parent: list[int], point: int) -> int:
    while parent[point] != point:
        parent[point] = parent[parent[point]]
        point = parent[point]
    return point


@lru_cache(maxsize=8)
def _neighbours(shape: tuple[int, ...]) -> Sequence[Sequence[int]]:
    """Indices of each point's neighbours along the axes."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    around: list[list[int]] = [[] for _ in range(numbers.size)]
    for axis in range(len(shape)):
        for one, other in zip(
            np.delete(numbers, -1, axis).ravel().tolist(), np.delete(numbers, 0, axis).ravel().tolist(), strict=True
        ):
            around[one].append(other)
            around[other].append(one)
    return around
