"""The driver: asks an optimizer, measures, tells it, counts the budget, and records every point as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evolq.objective import Objective
from evolq.optimizer import Answer, Optimizer, Query
from evolq.space import FloatArray
from evolq.state import pack, unpack
from landscape.errors import UserError
from landscape.store import StepRow
from landscape.trajectory import NO_BLOCK

Record = Callable[[Sequence[StepRow], bytes, bytes | None], None]
"""Keeps points, the state after them, and (with the first) what of the optimizer never changes."""

Judge = Callable[[FloatArray], float]
"""Top-1 on the test images, for the released rule that selects by it."""


@dataclass
class Course:
    """How far a run has come.

    Attributes:
        spent: Budget spent, in images through the full network. The start's value costs nothing: all methods know it.
        seconds: Time of the run, over all its parts.
        best_value: Lowest loss measured on all search images; NaN as long as all were NaN.
        best_point: Where.
        steps: Visited points of this part of the run, if nobody else keeps them.
        judged_value: With the released rule: the best top-1 of a checkpoint on the test images, percent.
        judged_point: Where.
        looks: With the released rule: how often the test images were looked at.
        looked_value: The lowest loss at the last of these looks.
        part_point: The last point that was measured on some parts of the search images.
        part_values: Its losses on the parts, NaN where it was not measured.
    """

    spent: int = 0
    seconds: float = 0.0
    best_value: float = np.nan
    best_point: FloatArray = field(default_factory=lambda: np.zeros(0))
    steps: list[StepRow] = field(default_factory=list)
    judged_value: float = -np.inf
    judged_point: FloatArray | None = None
    looks: int = 0
    looked_value: float = np.nan
    part_point: FloatArray = field(default_factory=lambda: np.zeros(0))
    part_values: FloatArray = field(default_factory=lambda: np.zeros(0))

    def state(self) -> dict[str, Any]:
        """What a resumed run needs of it."""
        return {name: getattr(self, name) for name in _KEPT}


_KEPT = (
    "spent", "seconds", "best_value", "best_point", "judged_value", "judged_point", "looks",
    "looked_value", "part_point", "part_values",
)  # fmt: skip


class Driver:
    """Runs one optimizer on one objective within a budget.

    Args:
        objective: What is minimised.
        optimizer: What is run.
        budget: In images through the full network; never exceeded.
        record: Keeps visited points and the state after them, together; without one they are kept in `Course.steps`.
        keep_points: Record the points' coordinates too.
        judge: For the released rule only: looks at the test images whenever a group is done.

    Raises:
        UserError: The budget is negative.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        budget: int,
        record: Record | None = None,
        keep_points: bool = True,
        judge: Judge | None = None,
    ) -> None:
        if budget < 0:
            raise UserError(f"--budget {budget} is negative; give a number of images")
        self.objective, self.optimizer, self.budget = objective, optimizer, budget
        self.course = Course(best_point=np.zeros(objective.info.dimension))
        self._record, self._keep_points, self._judge = record, keep_points, judge
        self._advance: Callable[[int], None] = lambda images: None
        self._group: int | None = None
        self._began = time.perf_counter()

    def tell_progress(self, advance: Callable[[int], None]) -> None:
        """Tell somebody the number of images that each step cost."""
        self._advance = advance

    def run(self, state: bytes | None = None, static: bytes | None = None) -> FloatArray:
        """Run to the end of the budget, or of the method.

        Args:
            state: As recorded, to go on from there; a new run without it.
            static: As recorded with the first point.

        Returns:
            The point that the run ends with: the method's own result, else the best that was measured on all search
            images (with the released rule: the checkpoint with the best top-1 on the test images).
        """
        if state is None:
            self._begin()
        else:
            assert static is not None
            self.optimizer.load_static_dict(unpack(static))
            self._load(state)
            self.optimizer.attach(self.objective)
        self._began = time.perf_counter() - self.course.seconds
        while self._step():
            pass
        return self._end()

    def _begin(self) -> None:
        start = Query(np.zeros((1, self.objective.info.dimension)))
        answer = self.objective.answer(start)
        value = float(answer.values[0])
        self.course.best_value = value
        self.optimizer.know(answer)
        self.optimizer.attach(self.objective)
        before = self.objective.spent
        self.optimizer.bind(self.objective)
        rows = [self._row(start, 0, value, True, 0)]
        self.course.spent += self.objective.spent - before
        self._advance(self.course.spent)
        self._keep(rows, pack(self.optimizer.static_dict()))

    def _step(self) -> bool:
        self.optimizer.spent = self.course.spent
        before = self.objective.spent
        query = self.optimizer.ask()
        asking = self.objective.spent - before
        self.course.spent += asking
        self._advance(asking)
        if query is None:
            return False
        self._check(query, asking)
        if self._judge is not None and self._at_checkpoint(query):
            self._look()
        self._group = query.group
        cost = self.objective.cost(query)
        left = self.budget - self.course.spent
        if cost > left:
            self._last(query, left * len(query.points) // cost)
            return False
        answer = self.objective.answer(query)
        rows = self._log(answer, None)
        accepted = self.optimizer.tell(answer)
        rows = [_with(row, bool(yes)) for row, yes in zip(rows, accepted, strict=True)]
        self._keep(rows)
        return True

    def _last(self, query: Query, affordable: int) -> None:
        """Measure as many points of the last query as the budget pays for: they may be good, and are paid for."""
        if affordable == 0 or query.gradient is not None:
            return
        cut = Query(query.points[:affordable], query.group, query.parts)
        self._keep(self._log(self.objective.answer(cut), False))

    def _log(self, answer: Answer, accepted: bool | None) -> list[StepRow]:
        """Rows of an answer; updates what is known to be best."""
        query, info = answer.query, self.objective.info
        each = answer.cost // max(1, len(query.points))
        images = each // 3 if query.gradient else each
        rows: list[StepRow] = []
        for index, (point, value) in enumerate(zip(query.points, answer.values.tolist(), strict=True)):
            self.course.spent += each
            whole = self._whole(answer, index)
            if whole < self.course.best_value or (np.isnan(self.course.best_value) and not np.isnan(whole)):
                self.course.best_value, self.course.best_point = whole, point.copy()
            rows.append(self._row(Query(point[None], query.group), each, value, bool(accepted), images))
        self._advance(answer.cost)
        assert info.dimension == query.points.shape[1]
        return rows

    def _whole(self, answer: Answer, index: int) -> float:
        """The loss on all search images, if this answer completes it; else NaN.

        A point that was measured on some parts, and is right afterwards measured on the others, has been measured.
        """
        query, info = answer.query, self.objective.info
        if query.images is not None or answer.part_values is None:
            return float(answer.values[index]) if query.images is None else np.nan
        if query.parts is None:
            return float(answer.values[index])
        if self.course.part_point.tobytes() != query.points[index].tobytes():
            self.course.part_point = query.points[index].copy()
            self.course.part_values = np.full(len(info.parts), np.nan)
        self.course.part_values[list(query.parts)] = answer.part_values[index]
        return float(np.average(self.course.part_values, weights=info.parts))

    def _row(self, query: Query, cost: int, value: float, accepted: bool, images: int) -> StepRow:
        course = self.course
        return StepRow(
            float(course.spent),
            value,
            course.best_value,
            time.perf_counter() - self._began,
            NO_BLOCK if query.group is None else query.group,
            accepted,
            images or self.objective.info.images,
            query.points[0].copy() if self._keep_points else None,
        )

    def _keep(self, rows: list[StepRow], static: bytes | None = None) -> None:
        self.course.seconds = time.perf_counter() - self._began
        if self._record is None:
            self.course.steps.extend(rows)
            return
        state = {"optimizer": self.optimizer.state_dict(), "course": self.course.state(), "group": self._group}
        self._record(rows, pack(state), static)

    def _load(self, state: bytes) -> None:
        found = unpack(state)
        self.optimizer.load_state_dict(found["optimizer"])
        for name in _KEPT:
            setattr(self.course, name, found["course"][name])
        self._group = found["group"]
        self._advance(self.course.spent)

    def _at_checkpoint(self, query: Query) -> bool:
        """After each block, as released; for methods without blocks, after each improvement."""
        if query.group is None and self._group is None:
            return self.course.looks == 0 or self.course.best_value < self.course.looked_value
        return query.group != self._group

    def _look(self) -> None:
        """The released rule: keep the checkpoint with the best top-1 on the test images."""
        assert self._judge is not None
        value = self._judge(self.course.best_point)
        self.course.looks += 1
        self.course.looked_value = self.course.best_value
        if value > self.course.judged_value:
            self.course.judged_value, self.course.judged_point = value, self.course.best_point.copy()

    def _end(self) -> FloatArray:
        if self._judge is not None:
            self._look()
            assert self.course.judged_point is not None
            return self.course.judged_point
        found = self.optimizer.result()
        return self.course.best_point if found is None else found

    def _check(self, query: Query, asking: int) -> None:
        points, dimension = query.points, self.objective.info.dimension
        if not len(points) and not asking:  # it would be asked for ever
            raise UserError(f"{type(self.optimizer).__name__} asked for no points, and did nothing else that costs")
        if points.ndim != 2 or points.shape[1] != dimension:
            raise UserError(
                f"{type(self.optimizer).__name__} asked for points of shape {points.shape}; expected (n, {dimension})"
            )


def _with(row: StepRow, accepted: bool) -> StepRow:
    return replace(row, accepted=accepted)
