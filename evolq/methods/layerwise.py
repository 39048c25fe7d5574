"""Evol-Q, preset ``ours``: a descent among layer-wise second-order proposals, then mutation with races (ours).

What is kept of Evol-Q: a point is improved by changing scales and by selection on the calibration loss, at the end
block by block with mutations. What is different, and why:

- Shaking all scales by a little flips hardly any code, or a bad one. Here every channel has a list of scales and zero
  points with different codes, those of least layer-wise error (`evolq.layerwise`), and a point takes one entry of each.
- A descent leads through these lists. It is dual averaging (Nesterov 2009, doi 10.1007/s10107-007-0149-x) with the
  layers' curvature as its metric: with slopes g_t of the loss in the dequantized weights, on a few images drawn anew at
  each step t, every channel takes the entry of least sum_t r_t g_t^T w_j + 1/2 (w_j - w)^T H (w_j - w). A code flips
  when enough slopes have agreed on it; noise and small steps add up instead of being rounded away.
- Then mutations draw a share of a block's channels anew from their lists. A child is measured on a few parts of the
  images first, against its parent on the same parts, and on the rest only if it wins: most children lose, and cost a
  fraction. The share follows the success rule (Rechenberg 1973: grow after a success, shrink after failures).
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

GRADIENT_COST = 3


@dataclass(frozen=True)
class LayerwiseOptions:
    """Settings of `LayerwiseEvolQ`.

    Attributes:
        metric: Of the layer-wise error; see `evolq.layerwise`.
        images: Search images that it is estimated on.
        top: Entries of each channel's list, beside the start.
        steps: Factors of the scale on each channel's grid.
        zero_points: Largest shift of a zero point on the grid.
        descent: Share of the budget at which the descent ends, and mutations begin.
        batch: Search images of each slope, drawn anew for each step.
        first: Share of all channels that the first step changes, which sets the first rate.
        check: Steps between two measurements on all search images, which alone decide what the descent ends with.
        share: First share of a block's channels that a mutation draws anew.
        spread: Temperature of such a draw: an entry that is worse by this share of its channel's least error is
            e times less likely.
        race: Parts of the search images on which a child meets its parent first.
        trials: Children of a block before the next block's turn.
        grow: Factor of the share after a success; after a failure its fourth root divides.
    """

    metric: str = "tokens"
    images: int = 200
    top: int = 8
    steps: int = 25
    zero_points: int = 2
    descent: float = 0.9
    batch: int = 50
    first: float = 0.3
    check: int = 10
    share: float = 0.1
    spread: float = 0.1
    race: int = 3
    trials: int = 12
    grow: float = 1.5

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(f"metric {self.metric!r} of evolq/ours is unknown; give one of {', '.join(METRICS)}")
        if min(self.images, self.top, self.batch, self.check, self.race, self.trials) < 1:
            raise UserError("images, top, batch, check, race and trials of evolq/ours must be at least 1")
        if self.steps < 2 or self.zero_points < 0:
            raise UserError("evolq/ours needs steps of at least 2 and zero_points of at least 0")
        if not (0 <= self.descent <= 1 and 0 < self.first <= 1 and 0 < self.share <= 1):
            raise UserError("descent, first and share of evolq/ours are shares; give at most 1 (0 for no descent)")
        if not (self.spread > 0 and self.grow > 1):
            raise UserError("evolq/ours needs spread > 0 and grow > 1")


@dataclass
class LayerwiseEvolQ(Optimizer):
    """See the head of this file.

    The order: the proposal of least layer-wise error; the descent from it; mutations of the best point found, block by
    block, last to first, again and again. Every choice is by the loss on the search images; a tie keeps what is there.
    """

    needs: ClassVar[Needs] = "curvature"
    Options: ClassVar[type[Any]] = LayerwiseOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"ours": {}}
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights", "zero_points": True}
    STATIC: ClassVar[tuple[str, ...]] = ("tables",)
    STATE: ClassVar[tuple[str, ...]] = (
        "index", "parts", "descending", "present", "slopes", "rate", "unchecked",
        "turn", "trial", "group", "chosen", "child", "child_parts", "racing", "share",
    )  # fmt: skip

    def start(self) -> None:
        """At the start of the space; lists come with `bind`, the start's value with `know`."""
        none = np.zeros(0, dtype=np.int64)
        self.tables: dict[str, Any] = {}
        self.index, self.parts = none, np.full(len(self.space.parts), np.nan)
        self.descending, self.present, self.slopes = self.options.descent > 0, none, np.zeros((0, 0))
        self.rate = np.nan
        self.unchecked = self.options.check  # the first that is measured is where the descent begins
        self.turn, self.trial = 0, 0
        self.group: int | None = None
        self.chosen, self.child, self.child_parts = none, none, np.full(len(self.space.parts), np.nan)
        self.racing, self.share = False, self.options.share

    def know(self, start: Answer) -> None:
        """The start is the first member."""
        assert start.part_values is not None
        self.parts = start.part_values[0].copy()

    def attach(self, problem: Any) -> None:
        """For the slopes of the descent.

        Raises:
            UserError: The problem is no quantized network, or no weight scales move.
        """
        if not isinstance(problem, NetworkObjective):
            raise UserError("evolq/ours needs a quantized network; choose a method that needs values only")
        self.problem, self.layers = problem, layers_of(problem)

    def bind(self, problem: NetworkObjective) -> None:
        """Estimate the metric and make each channel's list."""
        network, kind = problem.problem.network, self.options.metric
        count = min(self.options.images, len(problem.problem.images), self.budget // (2 * PASS_COST[kind]))
        if count < 1:
            return
        grid = Grid(steps=self.options.steps, zero_points=self.options.zero_points if self.space.integer.any() else 0)
        metrics = collect(network, problem.problem.images.select(range(count)), kind, self.layers, self.seed)
        problem.spent += count * PASS_COST[kind]
        lists = make_lists(problem.space, metrics, choose_all(network, metrics, grid, self.options.top), count)
        self.tables = lists.to_dict()
        self.index = np.zeros(len(lists.layer), dtype=np.int64)
        self.slopes = np.zeros_like(lists.error)
        self.present = least(self.slopes, lists.error)

    @property
    def lists(self) -> ChannelLists:
        """Of all channels."""
        return ChannelLists(**self.tables)

    def ask(self) -> Query | None:
        """A step of the descent, a check of where it is, a child, or the rest of the images for a child that leads."""
        if not self.tables:
            return None
        if self.descending:
            if self.unchecked < self.options.check and self._affords_a_step():
                self._descend()
                return Query(np.zeros((0, self.space.dimension)))
            if self.unchecked:
                return Query(self._point(self.present)[None])
            self.descending = False
        if not self.racing:
            self._next_child()
        unknown = np.flatnonzero(np.isnan(self.child_parts))
        parts = self.chosen if len(unknown) == len(self.child_parts) else unknown
        return Query(self._point(self.child)[None], group=self.group, parts=tuple(parts.tolist()))

    def tell(self, answer: Answer) -> list[bool]:
        """Select."""
        if not len(answer.values):
            return []
        assert answer.part_values is not None
        if self.descending:
            self.unchecked = 0
            return [self._take(self.present, answer.part_values[0])]
        assert answer.query.parts is not None
        self.child_parts[list(answer.query.parts)] = answer.part_values[0]
        known = ~np.isnan(self.child_parts)
        leads = self._mean(self.child_parts, known) < self._mean(self.parts, known)
        self.racing = bool(leads and not known.all())
        if self.racing:
            return [False]
        accepted = bool(leads) and self._take(self.child, self.child_parts)
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
        self.lists.put(point, index)
        return point

    @property
    def _batch(self) -> int:
        return int(min(self.options.batch, self.space.images))

    def _affords_a_step(self) -> bool:
        """Whether a step, and a check behind it, fit before the descent's end."""
        return bool(self.spent + GRADIENT_COST * self._batch + self.space.images <= self.options.descent * self.budget)

    def _descend(self) -> None:
        """One step: add the slopes on a few images, and take each channel's least entry anew."""
        rows = np.sort(self.generator.permutation(self.space.images)[: self._batch]).tolist()
        space, lists = self.problem.space, self.lists
        weights = present_weights(space, lists, self.layers, self.present)
        slopes = weight_gradients(self.problem.problem, weights, rows, self.problem.loss)
        self.problem.spent += GRADIENT_COST * self._batch
        self.unchecked += 1
        table = linear_terms(space, lists, self.layers, slopes)
        if not np.isfinite(table).all():
            return
        if np.isnan(self.rate):
            self.rate = rate_that_changes(table, lists.error, self.options.first)
        if np.isnan(self.rate):
            return
        done = self.spent / (self.options.descent * self.budget)
        self.slopes = self.slopes + self.rate * 0.5 * (1.0 + np.cos(np.pi * done)) * table
        self.present = least(self.slopes, lists.error)

    def _groups(self) -> list[int]:
        """Groups that hold channels with lists, from the last to the first."""
        columns = self.lists.columns[:, 0]
        return [
            number
            for number in reversed(range(len(self.space.groups)))
            if np.isin(self.space.groups[number], columns).any()
        ]

    def _next_child(self) -> None:
        """Draw a share of a block's channels, or of one of its layers, anew from their lists."""
        groups, lists = self._groups(), self.lists
        self.group = groups[self.turn % len(groups)]
        if self.trial == 0:  # the same races for a whole block, so that the part of the network before it is kept too
            count = min(self.options.race, len(self.space.parts))
            self.chosen = np.sort(self.generator.permutation(len(self.space.parts))[:count])
        channels = np.flatnonzero(np.isin(lists.columns[:, 0], self.space.groups[self.group]))
        if self.generator.random() < 0.5:
            layer = self.generator.choice(np.unique(lists.layer[channels]))
            channels = channels[lists.layer[channels] == layer]
        drawn = channels[self.generator.random(len(channels)) < self.share]
        if not len(drawn):
            drawn = channels[[int(self.generator.integers(len(channels)))]]
        self.child = self.index.copy()
        self.child[drawn] = lists.draw(drawn, self.slopes, self.options.spread, self.generator)
        self.child_parts = np.full(len(self.space.parts), np.nan)

    def _adapt(self, accepted: bool) -> None:
        """The success rule, and whose turn is next."""
        grow = self.options.grow
        self.share = float(np.clip(self.share * (grow if accepted else grow**-0.25), 1e-3, 1.0))
        self.trial += 1
        if self.trial == self.options.trials:
            self.trial = 0
            self.turn += 1


def least(slopes: FloatArray, error: FloatArray) -> Any:
    """The entry of least slopes + error of each channel, int64 (C,); of equals the first.

    Args:
        slopes: float64 (C, K).
        error: Likewise.
    """
    return np.argmin(slopes + error, axis=1)


def rate_that_changes(table: FloatArray, error: FloatArray, share: float) -> float:
    """The largest factor r (to 0.1 %) with which at most a share of the channels has its least r table + error changed.

    Where no factor changes as many, nine tenths of those that the largest changes count instead.

    Args:
        table: Slopes, float64 (C, K).
        error: float64 (C, K).
        share: Above 0, at most 1.

    Returns:
        The factor; NaN where none changes anything.
    """
    before = least(np.zeros_like(error), error)

    def changed(exponent: float) -> float:
        return float(np.mean(least(np.exp(exponent) * table, error) != before))

    low, high = -60.0, 60.0
    if changed(high) == 0:
        return np.nan
    share = min(share, 0.9 * changed(high))
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if changed(middle) <= share else (low, middle)
    return float(np.exp(low))
