"""Evol-Q, preset ``ours``: evolution among layer-wise second-order proposals, with races on parts of the images (ours).

What is kept of Evol-Q: a point is improved block by block by mutation and selection on the calibration loss. What is
different, and why:

- The initial population is diverse: the start, and the points that least layer-wise error proposes (`evolq.layerwise`).
  Blocks are first exchanged among them (crossover).
- A mutation does not shake all scales by a little, of which most flip no code or a bad one: it draws a share of a
  block's channels anew from each channel's own list of good scales and zero points. So a mutation is measured in what
  it does to the layer's output, and moves zero points too.
- A child is measured on a few parts of the images first, against the parent on the same parts, and on the rest only
  if it wins: most children lose, and cost a fraction.
- The share of mutated channels follows the success rule (Rechenberg 1973: grow after a success, shrink after failures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.layerwise import METRICS, PASS_COST, Choices, Grid, choose_all, collect
from evolq.methods.proposal import layers_of
from evolq.objective import NetworkObjective
from evolq.optimizer import Answer, Needs, Optimizer, Query
from evolq.space import FloatArray
from landscape.errors import UserError


@dataclass(frozen=True)
class LayerwiseOptions:
    """Settings of `LayerwiseEvolQ`.

    Attributes:
        metrics: Of the proposals, with spaces between them; see `evolq.layerwise`. The first makes the channels' lists.
        images: Search images that the metrics are estimated on.
        top: Length of each channel's list.
        spread: Temperature of a draw from the list: an entry whose error is larger than the least by this share of the
            least is e times less likely.
        share: First share of a block's channels that a mutation draws anew.
        race: Parts of the search images on which a child meets its parent first.
        trials: Children of a block before the next block's turn.
        grow: Factor of the share after a success; after a failure its fourth root divides.
        steps: Factors of the scale on each channel's grid.
        zero_points: Largest shift of a zero point on the grid.
    """

    metrics: str = "tokens inputs"
    images: int = 200
    top: int = 8
    spread: float = 0.1
    share: float = 0.1
    race: int = 3
    trials: int = 12
    grow: float = 1.5
    steps: int = 25
    zero_points: int = 2

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.metrics.split() if kind not in METRICS]
        if unknown or not self.metrics.split():
            raise UserError(f"metrics {self.metrics!r}: give some of {', '.join(METRICS)}, with spaces between")
        if min(self.images, self.top, self.race, self.trials) < 1 or self.steps < 2 or self.zero_points < 0:
            raise UserError("images, top, race and trials of evolq/ours must be at least 1, steps at least 2")
        if not (self.spread > 0 and 0 < self.share <= 1 and self.grow > 1):
            raise UserError("evolq/ours needs spread > 0, 0 < share <= 1 and grow > 1")


@dataclass
class LayerwiseEvolQ(Optimizer):
    """See the head of this file.

    The order: the proposals are measured; blocks are exchanged with them, last to first; then children block by block,
    last to first, again and again. Every choice is by the loss on the search images; a tie keeps what is there.
    """

    needs: ClassVar[Needs] = "curvature"
    Options: ClassVar[type[Any]] = LayerwiseOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"ours": {}}
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights", "zero_points": True}
    STATIC: ClassVar[tuple[str, ...]] = ("seeds", "columns", "lists", "weights", "layer")
    STATE: ClassVar[tuple[str, ...]] = (
        "point", "parts", "seed_turn", "turn", "trial", "group", "chosen", "child", "child_parts", "racing", "share",
    )  # fmt: skip

    def start(self) -> None:
        """At the start of the space; everything else comes with `bind` and `know`."""
        dimension = self.space.dimension
        self.point = np.zeros(dimension)
        self.parts = np.full(len(self.space.parts), np.nan)
        self.seeds: FloatArray = np.zeros((0, dimension))
        self.columns = np.zeros((0, 2), dtype=np.int64)
        self.lists: FloatArray = np.zeros((0, 0, 2))
        self.weights: FloatArray = np.zeros((0, 0))
        self.layer = np.zeros(0, dtype=np.int64)
        self.seed_turn, self.turn, self.trial = 0, 0, 0
        self.group = len(self.space.groups) - 1
        self.chosen = np.zeros(0, dtype=np.int64)
        self.child = np.zeros(0)
        self.child_parts = np.full(len(self.space.parts), np.nan)
        self.racing = False
        self.share = self.options.share

    def know(self, start: Answer) -> None:
        """The start is the first member."""
        assert start.part_values is not None
        self.parts = start.part_values[0].copy()

    def bind(self, problem: Any) -> None:
        """Estimate the metrics, make the proposals, and each channel's list.

        Raises:
            UserError: The problem is no quantized network, or no weight scales move.
        """
        if not isinstance(problem, NetworkObjective):
            raise UserError("evolq/ours needs a quantized network; choose a method that needs values only")
        layers, network = layers_of(problem), problem.problem.network
        grid = Grid(steps=self.options.steps, zero_points=self.options.zero_points if self.space.integer.any() else 0)
        seeds = []
        for number, kind in enumerate(self.options.metrics.split()):
            left = self.budget - problem.spent
            count = min(self.options.images, len(problem.problem.images), left // (2 * PASS_COST[kind]))
            if count < 1:
                break
            metrics = collect(network, problem.problem.images.select(range(count)), kind, layers, self.seed)
            problem.spent += count * PASS_COST[kind]
            choices = choose_all(network, metrics, grid, self.options.top)
            scales = {f"{layer}.weight": found.scale[0] for layer, found in choices.items()}
            zero_points = {f"{layer}.weight": found.zero_point[0] for layer, found in choices.items()}
            seeds.append(problem.space.point(scales, zero_points))
            if number == 0:
                self._list(problem, choices)
        if seeds:
            self.seeds = np.stack(seeds)

    def _list(self, problem: NetworkObjective, choices: dict[str, Choices]) -> None:
        """Each channel's list as coordinates: (channels, top, 2) for scale and zero point, and the draws' weights."""
        space, network = problem.space, problem.problem.network
        columns, lists, weights, layers = [], [], [], []
        for number, (layer, found) in enumerate(choices.items()):
            name = f"{layer}.weight"
            first = np.arange(space.info.dimension)[space.columns(name)]
            second = np.full_like(first, -1)
            if self.space.integer.any():
                second = np.arange(space.info.dimension)[space.columns(name, zero_point=True)]
            quantizer = network.weights[layer]
            columns.append(np.stack([first, second], axis=1))
            scale = np.log((found.scale / quantizer.scale).numpy())
            shift = (found.zero_point - quantizer.zero_point).numpy()
            lists.append(np.stack([scale.T, shift.T], axis=2))
            error = found.error.numpy().T
            least = np.maximum(error[:, :1], np.finfo(float).tiny)
            weight = np.exp(-(error - error[:, :1]) / (self.options.spread * least))
            weights.append(weight / weight.sum(axis=1, keepdims=True))
            layers.append(np.full(len(first), number))
        self.columns, self.lists = np.concatenate(columns), np.concatenate(lists)
        self.weights, self.layer = np.concatenate(weights), np.concatenate(layers)

    def ask(self) -> Query | None:
        """The next proposal, child, or the rest of the images for a child that has won its race."""
        if self.seed_turn < len(self.seeds):
            return Query(self.seeds[self.seed_turn][None].copy())
        if not self.racing and not self._next_child():
            return None
        unknown = np.flatnonzero(np.isnan(self.child_parts))
        parts = self.chosen if len(unknown) == len(self.child_parts) else unknown
        return Query(self.child[None].copy(), group=self.group, parts=tuple(parts.tolist()))

    def tell(self, answer: Answer) -> list[bool]:
        """Select."""
        assert answer.part_values is not None
        if self.seed_turn < len(self.seeds):
            self.seed_turn += 1
            return [self._take(answer.query.points[0], answer.part_values[0])]
        measured = list(answer.query.parts or range(len(self.parts)))
        self.child_parts[measured] = answer.part_values[0]
        known = ~np.isnan(self.child_parts)
        sizes = np.array(self.space.parts)
        wins = _mean(self.child_parts, sizes, known) < _mean(self.parts, sizes, known)
        self.racing = bool(wins and not known.all())
        if self.racing:
            return [False]
        accepted = bool(wins) and self._take(self.child, self.child_parts)
        self._adapt(accepted)
        return [accepted]

    def _take(self, point: FloatArray, parts: FloatArray) -> bool:
        """Go on from a point if it is better on all images."""
        sizes = np.array(self.space.parts)
        every = np.ones(len(sizes), dtype=bool)
        mine, other = _mean(self.parts, sizes, every), _mean(parts, sizes, every)
        better = bool(other < mine or (np.isnan(mine) and not np.isnan(other)))
        if better:
            self.point, self.parts = point.copy(), parts.copy()
        return better

    @property
    def _exchanges(self) -> int:
        """Number of turns in which a block is exchanged with a proposal."""
        return len(self.seeds) * len(self.space.groups) if len(self.seeds) > 1 else 0

    def _next_child(self) -> bool:
        """Make a child; False if there is nothing that could be mutated."""
        if self.turn < self._exchanges:
            self.group = len(self.space.groups) - 1 - self.turn // len(self.seeds)
            columns = self.space.groups[self.group]
            self.child = self.point.copy()
            self.child[columns] = self.seeds[self.turn % len(self.seeds)][columns]
            if self.turn % len(self.seeds) == 0:
                self._draw_parts()
        else:
            mutable = [number for number in range(len(self.space.groups)) if len(self._channels(number))]
            if not mutable:
                return False
            self.group = mutable[-1 - (self.turn - self._exchanges) % len(mutable)]
            if self.trial == 0:
                self._draw_parts()
            self.child = self._mutated()
        self.child_parts = np.full(len(self.space.parts), np.nan)
        return True

    def _draw_parts(self) -> None:
        """The parts of the next races; kept for a whole block, so that the part of the network before it is too."""
        count = min(self.options.race, len(self.space.parts))
        self.chosen = np.sort(self.generator.permutation(len(self.space.parts))[:count])

    def _channels(self, group: int) -> Any:
        return np.flatnonzero(np.isin(self.columns[:, 0], self.space.groups[group]))

    def _mutated(self) -> FloatArray:
        """Draw a share of the block's channels, or of one of its layers, anew from their lists."""
        channels = self._channels(self.group)
        if self.generator.random() < 0.5:
            layer = self.generator.choice(np.unique(self.layer[channels]))
            channels = channels[self.layer[channels] == layer]
        drawn = channels[self.generator.random(len(channels)) < self.share]
        if not len(drawn):
            drawn = channels[[int(self.generator.integers(len(channels)))]]
        levels = np.cumsum(self.weights[drawn], axis=1)
        entries = (self.generator.random((len(drawn), 1)) >= levels[:, :-1]).sum(axis=1)
        child = self.point.copy()
        child[self.columns[drawn, 0]] = self.lists[drawn, entries, 0]
        if (self.columns[drawn, 1] >= 0).all():
            child[self.columns[drawn, 1]] = self.lists[drawn, entries, 1]
        return child

    def _adapt(self, accepted: bool) -> None:
        """The success rule, and whose turn is next."""
        if self.turn < self._exchanges:
            self.turn += 1
            return
        grow = self.options.grow
        self.share = float(np.clip(self.share * (grow if accepted else grow**-0.25), 1e-3, 1.0))
        self.trial += 1
        if self.trial == self.options.trials:
            self.trial = 0
            self.turn += 1


def _mean(parts: FloatArray, sizes: Any, chosen: Any) -> float:
    return float(np.average(parts[chosen], weights=sizes[chosen]))
