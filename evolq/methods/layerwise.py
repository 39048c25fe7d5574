"""Evol-Q, preset ``ours``: evolution among layer-wise second-order proposals, with races on parts of the images (ours).

What is kept of Evol-Q: a point is improved block by block by mutation and selection on the calibration loss. What is
different, and why:

- The initial population is diverse: the start, and the points of least layer-wise error (`evolq.layerwise`). Blocks are
  exchanged among them (crossover).
- A mutation does not shake all scales by a little, of which most flip no code or a bad one: it draws a share of a
  block's channels anew from each channel's own list of good scales and zero points. So a mutation is measured in what
  it does to the layer's output, and moves zero points too.
- Some children are guided: in all channels at once the entry of least g^T dw + r/2 dw^T H dw is taken, with the
  derivative g of the loss in the weights at the present point. r is such that a given share of the channels changes;
  the share grows after a success and shrinks after a failure, as a trust region does.
- A child is measured on a few parts of the images first, against the parent on the same parts, and on the rest only
  if it wins: most children lose, and cost a fraction.
- The share of mutated channels follows the success rule (Rechenberg 1973: grow after a success, shrink after failures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evolq.channel_lists import ChannelLists, linear_terms, make_lists, present_weights
from evolq.float_pass import weight_gradients
from evolq.layerwise import METRICS, PASS_COST, Grid, choose_all, collect
from evolq.methods.proposal import layers_of
from evolq.objective import NetworkObjective
from evolq.optimizer import Answer, Needs, Optimizer, Query
from evolq.space import FloatArray
from landscape.errors import UserError

EXCHANGE, GUIDE, MUTATE = "exchange", "guide", "mutate"
GRADIENT_COST = 3


@dataclass(frozen=True)
class LayerwiseOptions:
    """Settings of `LayerwiseEvolQ`.

    Attributes:
        metrics: Of the proposals, with spaces between them; see `evolq.layerwise`. The first makes the channels' lists.
        images: Search images that the metrics are estimated on.
        top: Entries of each channel's list, beside the start and the other metrics' best.
        spread: Temperature of a draw from the list: an entry whose error exceeds the least by this share of it is
            e times less likely.
        exchange: Exchange blocks with the proposals before anything else.
        guided: Guided children before the mutations begin; fewer if their reach falls below `smallest`.
        guide: Search images of their gradients, drawn anew for each.
        reach: First share of all channels that a guided child changes.
        smallest: Share of the channels below which guided children end.
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
    exchange: bool = False
    guided: int = 60
    guide: int = 100
    reach: float = 0.1
    smallest: float = 0.002
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
        if min(self.images, self.top, self.guide, self.race, self.trials) < 1 or self.steps < 2 or self.zero_points < 0:
            raise UserError("images, top, guide, race and trials of evolq/ours must be at least 1, steps at least 2")
        if not (self.spread > 0 and 0 < self.reach <= 1 and 0 < self.share <= 1 and self.grow > 1):
            raise UserError("evolq/ours needs spread > 0, reach and share above 0 and at most 1, and grow > 1")


@dataclass
class LayerwiseEvolQ(Optimizer):
    """See the head of this file.

    The order: the proposals are measured; blocks are exchanged with them, last to first; guided children; then
    mutations block by block, last to first, again and again. Every choice is by the loss on the search images; a tie
    keeps what is there.
    """

    needs: ClassVar[Needs] = "curvature"
    Options: ClassVar[type[Any]] = LayerwiseOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"ours": {}}
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights", "zero_points": True}
    STATIC: ClassVar[tuple[str, ...]] = ("seeds", "tables")
    STATE: ClassVar[tuple[str, ...]] = (
        "index", "parts", "seed_turn", "turn", "trial", "group", "chosen", "child", "child_parts", "racing", "share",
        "reach", "guides",
    )  # fmt: skip

    def start(self) -> None:
        """At the start of the space; lists come with `bind`, the start's value with `know`."""
        self.tables: dict[str, Any] = {}
        self.seeds = np.zeros((0, 0), dtype=np.int64)
        self.index = np.zeros(0, dtype=np.int64)
        self.parts = np.full(len(self.space.parts), np.nan)
        self.seed_turn, self.turn, self.trial, self.guides = 1, 0, 0, 0
        self.group: int | None = None
        self.chosen = np.zeros(0, dtype=np.int64)
        self.child = np.zeros(0, dtype=np.int64)
        self.child_parts = np.full(len(self.space.parts), np.nan)
        self.racing = False
        self.share, self.reach = self.options.share, self.options.reach

    def know(self, start: Answer) -> None:
        """The start is the first member."""
        assert start.part_values is not None
        self.parts = start.part_values[0].copy()

    def attach(self, problem: Any) -> None:
        """For the gradients of guided children.

        Raises:
            UserError: The problem is no quantized network, or no weight scales move.
        """
        if not isinstance(problem, NetworkObjective):
            raise UserError("evolq/ours needs a quantized network; choose a method that needs values only")
        self.problem, self.layers = problem, layers_of(problem)

    def bind(self, problem: NetworkObjective) -> None:
        """Estimate the metrics, choose, and make each channel's list."""
        network = problem.problem.network
        grid = Grid(steps=self.options.steps, zero_points=self.options.zero_points if self.space.integer.any() else 0)
        first, choices, used, spent = None, [], 1, 0
        for kind in self.options.metrics.split():
            left = self.budget - spent
            count = min(self.options.images, len(problem.problem.images), left // (2 * PASS_COST[kind]))
            if count < 1:
                break
            metrics = collect(network, problem.problem.images.select(range(count)), kind, self.layers, self.seed)
            spent += count * PASS_COST[kind]
            choices.append(choose_all(network, metrics, grid, self.options.top))
            if first is None:
                first, used = metrics, count
        problem.spent += spent
        if first is not None:
            lists, self.seeds = make_lists(problem.space, first, choices, used, self.options.spread)
            self.tables, self.index = lists.to_dict(), self.seeds[0].copy()

    @property
    def lists(self) -> ChannelLists:
        """Of all channels."""
        return ChannelLists(**self.tables)

    def ask(self) -> Query | None:
        """The next proposal or child, or the rest of the images for a child that has won its race."""
        if not self.tables:
            return None
        if self.seed_turn < len(self.seeds):
            return Query(self._point(self.seeds[self.seed_turn])[None])
        if not self.racing and not self._next_child():
            return None
        unknown = np.flatnonzero(np.isnan(self.child_parts))
        parts = self.chosen if len(unknown) == len(self.child_parts) else unknown
        return Query(self._point(self.child)[None], group=self.group, parts=tuple(parts.tolist()))

    def tell(self, answer: Answer) -> list[bool]:
        """Select."""
        assert answer.part_values is not None
        if self.seed_turn < len(self.seeds):
            self.seed_turn += 1
            return [self._take(self.seeds[self.seed_turn - 1], answer.part_values[0])]
        assert answer.query.parts is not None
        self.child_parts[list(answer.query.parts)] = answer.part_values[0]
        known = ~np.isnan(self.child_parts)
        wins = self._mean(self.child_parts, known) < self._mean(self.parts, known)
        self.racing = bool(wins and not known.all())
        if self.racing:
            return [False]
        accepted = bool(wins) and self._take(self.child, self.child_parts)
        self._adapt(accepted)
        return [accepted]

    def _take(self, index: Any, parts: FloatArray) -> bool:
        """Go on from a member if it is better on all images."""
        every = np.ones(len(parts), dtype=bool)
        mine, other = self._mean(self.parts, every), self._mean(parts, every)
        better = bool(other < mine or (np.isnan(mine) and not np.isnan(other)))
        if better:
            self.index, self.parts = index.copy(), parts.copy()
        return better

    def _mean(self, parts: FloatArray, chosen: Any) -> float:
        return float(np.average(parts[chosen], weights=np.array(self.space.parts)[chosen]))

    def _point(self, index: Any) -> FloatArray:
        point = np.zeros(self.space.dimension)
        self.lists.put(point, np.arange(len(index)), index)
        return point

    @property
    def _phase(self) -> str:
        """What the next child is."""
        if self.options.exchange and self.turn < len(self._groups()) * (len(self.seeds) if len(self.seeds) > 2 else 0):
            return EXCHANGE
        return GUIDE if self.guides < self.options.guided and self.reach >= self.options.smallest else MUTATE

    def _groups(self) -> list[int]:
        """Groups that hold channels with lists, from the last to the first."""
        columns = self.lists.columns[:, 0]
        return [
            number
            for number in reversed(range(len(self.space.groups)))
            if np.isin(self.space.groups[number], columns).any()
        ]

    def _next_child(self) -> bool:
        """Make a child; False if there is nothing left to do."""
        groups = self._groups()
        self._skip_equal(groups)
        phase = self._phase
        if phase == GUIDE and not self._guided_child():
            self.guides, phase = self.options.guided, MUTATE  # the budget does not pay for a gradient
        if phase == EXCHANGE:
            self.group = groups[self.turn // len(self.seeds)]
            channels = self._channels(self.group)
            self._draw_parts()
            self.child = self.index.copy()
            self.child[channels] = self.seeds[self.turn % len(self.seeds)][channels]
        elif phase == MUTATE:
            self.group = groups[self.turn % len(groups)]
            if self.trial == 0:
                self._draw_parts()
            self.child = self._mutated()
        self.child_parts = np.full(len(self.space.parts), np.nan)
        return True

    def _skip_equal(self, groups: list[int]) -> None:
        """Pass over exchanges that would change nothing."""
        while self._phase == EXCHANGE:
            channels = self._channels(groups[self.turn // len(self.seeds)])
            if (self.seeds[self.turn % len(self.seeds)][channels] != self.index[channels]).any():
                return
            self.turn += 1

    def _draw_parts(self) -> None:
        """The parts of the next races; kept for a whole block, so that the part of the network before it is too."""
        count = min(self.options.race, len(self.space.parts))
        self.chosen = np.sort(self.generator.permutation(len(self.space.parts))[:count])

    def _channels(self, group: int) -> Any:
        return np.flatnonzero(np.isin(self.lists.columns[:, 0], self.space.groups[group]))

    def _mutated(self) -> Any:
        """Draw a share of the block's channels, or of one of its layers, anew from their lists."""
        assert self.group is not None
        lists, channels = self.lists, self._channels(self.group)
        if self.generator.random() < 0.5:
            layer = self.generator.choice(np.unique(lists.layer[channels]))
            channels = channels[lists.layer[channels] == layer]
        drawn = channels[self.generator.random(len(channels)) < self.share]
        if not len(drawn):
            drawn = channels[[int(self.generator.integers(len(channels)))]]
        child = self.index.copy()
        child[drawn] = lists.draw(drawn, self.generator)
        return child

    def _guided_child(self) -> bool:
        """The entries of least estimated loss in all channels; False where the budget does not pay for it."""
        count = min(self.options.guide, self.space.images)
        if self.budget - self.spent < GRADIENT_COST * count + self.space.images:
            return False
        rows = np.sort(self.generator.permutation(self.space.images)[:count]).tolist()
        space, lists = self.problem.space, self.lists
        weights = present_weights(space, lists, self.layers, self.index)
        slopes = weight_gradients(self.problem.problem, weights, rows, self.problem.loss)
        self.problem.spent += GRADIENT_COST * count
        linear = linear_terms(space, lists, self.layers, self.index, slopes)
        quadratic = lists.quadratic[np.arange(len(self.index)), self.index]
        self.child = least_within(linear, quadratic, self.index, self.reach)
        self.group = None
        self._draw_parts()
        return True

    def _adapt(self, accepted: bool) -> None:
        """The success rules, and whose turn is next."""
        phase, grow = self._phase, self.options.grow
        if phase == EXCHANGE:
            self.turn += 1
        elif phase == GUIDE:
            self.guides += 1
            self.reach = float(np.clip(self.reach * (grow if accepted else grow**-2), 1e-4, 1.0))
        else:
            self.share = float(np.clip(self.share * (grow if accepted else grow**-0.25), 1e-3, 1.0))
            self.trial += 1
            if self.trial == self.options.trials:
                self.trial = 0
                self.turn += 1


def least_within(linear: FloatArray, quadratic: FloatArray, index: Any, share: float) -> Any:
    """The entries of least linear + r quadratic, with the smallest r at which at most a share of the channels changes.

    Args:
        linear: float64 (C, K), zero for the present entries.
        quadratic: Not negative, likewise.
        index: Present entries, int64 (C,).
        share: 0 to 1.

    Returns:
        int64 (C,). All present where even the largest r changes more.
    """
    low, high = -30.0, 30.0
    # An entry with the codes of the present one changes nothing.
    other = quadratic > 1e-9 * quadratic.max(axis=1, keepdims=True)
    other[np.arange(len(index)), index] = True
    usable = np.where(np.isfinite(linear) & other, linear, np.inf)
    for _ in range(40):
        middle = 0.5 * (low + high)
        changed = np.mean(np.argmin(usable + np.exp(middle) * quadratic, axis=1) != index)
        low, high = (middle, high) if changed > share else (low, middle)
    found = np.argmin(usable + np.exp(high) * quadratic, axis=1)
    return found if np.mean(found != index) <= share else index.copy()
