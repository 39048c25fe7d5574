"""The trajectory: the points that an optimizer visited, in order, with what they cost and what they were worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from landscape.errors import UserError
from landscape.store import RunStore, TrajectoryTable

FloatArray = npt.NDArray[np.float64]

NO_BLOCK = -1
"""In `Trajectory.block`: the point does not differ from the incumbent in a single block only."""

SELECTED_ON_TEST = "selected on the test set"
"""Said wherever a result appears that the released rule chose by looking at the test images."""


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """One run of one optimizer: T visited points, the start first.

    Attributes:
        method: Name of the optimizer, such as ``evolq``.
        preset: Of the optimizer, such as ``released``; None where it has none.
        seed: Of its random choices.
        label: For legends; says `SELECTED_ON_TEST` where that is so.
        loss: Name of the loss that is minimised, such as ``infonce``.
        cost: Budget spent when the point's value was known, in images through the full network; shape (T,), increasing.
        value: The loss of the point, NaN where it is; shape (T,).
        best: The lowest loss so far among points measured on all search images; shape (T,), falling.
        seconds: Time of the run when the point's value was known, over all its resumed parts; shape (T,).
        block: Index of the one block of parameters that the optimizer moved, or `NO_BLOCK`; int64 (T,).
        accepted: Whether the optimizer went on from the point; bool (T,).
        images: Number of images that the value is a mean of; int64 (T,). Fewer than the largest: a look at a subset.
        coordinates: Relative coordinates e of the points (s = s0 exp(e); zero points: codes), float64 (T, dimension);
            None where they were not kept.
        names: Of the parameters, one for each part of a point: ``blocks.5.attn.qkv.weight``.
        sizes: Numbers in each part; they sum to the dimension.
        result: What the run ended with, as plain data: ``start`` and ``end`` with values of search and test images;
            empty while it runs.

    Raises:
        ValueError: The arrays differ in length.
    """

    method: str
    preset: str | None
    seed: int
    label: str
    loss: str
    cost: FloatArray
    value: FloatArray
    best: FloatArray
    seconds: FloatArray
    block: npt.NDArray[np.int64]
    accepted: npt.NDArray[np.bool_]
    images: npt.NDArray[np.int64]
    coordinates: FloatArray | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that all arrays have one entry for each point."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.coordinates is not None:
            arrays["coordinates"] = self.coordinates
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the arrays of a trajectory differ in length: {lengths}")

    def __len__(self) -> int:
        """Number of visited points, the start among them."""
        return len(self.cost)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self.result)

    @property
    def selected_on_test(self) -> bool:
        """Whether the result was chosen by looking at the test images (the released rule)."""
        return bool(self.result.get("selected_on_test", SELECTED_ON_TEST in self.label))

    def best_at(self, cost: FloatArray) -> FloatArray:
        """The lowest loss that was known after spending `cost` (images, any shape); NaN before the start's was known.

        With it, runs that evaluate different numbers of images at a time are compared at equal budget.
        """
        if not len(self):
            return np.full(np.shape(cost), np.nan)
        last = np.searchsorted(self.cost, cost, side="right") - 1
        return np.where(last >= 0, self.best[np.maximum(last, 0)], np.nan)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each point, without the coordinates."""
        return pd.DataFrame({name: getattr(self, name) for name in _ARRAYS})

    def __repr__(self) -> str:
        """One line: what ran, how far, how well."""
        if not len(self):
            return f"Trajectory({self.label}, no points yet)"
        best = f"{self.loss} {self.best[0]:.6g} -> {self.best[-1]:.6g}"
        return f"Trajectory({self.label}, {len(self)} points, {self.cost[-1]:.0f} images, {best})"

    def _repr_html_(self) -> str:
        """Start, best, cost and result, for notebooks."""
        from landscape.plots import trajectory_html

        return trajectory_html(self)


_ARRAYS = ("cost", "value", "best", "seconds", "block", "accepted", "images")


def load_trajectories(folder: str | Path, *, coordinates: bool = False) -> list[Trajectory]:
    """The trajectories of the run in a folder, finished or not, in the order in which they were begun.

    Args:
        folder: Of `landscape optimize` or `landscape compare`.
        coordinates: Read the points' coordinates too, where they were kept.

    Raises:
        UserError: There is no run, or it holds no trajectory.
    """
    with RunStore.open(folder) as store:
        table = TrajectoryTable(store)
        names = table.names()
        if not names:
            raise UserError(f"the run in {folder} has no trajectories; give the folder of `landscape optimize`")
        return [read_trajectory(table, name, coordinates=coordinates) for name in names]


def read_trajectory(table: TrajectoryTable, name: str, *, coordinates: bool = False) -> Trajectory:
    """One trajectory of an open run.

    Raises:
        ValueError: There is none of that name.
    """
    about, steps = table.about(name), table.steps(name)
    return Trajectory(
        method=about["method"],
        preset=about.get("preset"),
        seed=about["seed"],
        label=about["label"],
        loss=about["loss"],
        **{array: steps[array] for array in _ARRAYS},
        coordinates=table.coordinates(name) if coordinates else None,
        names=tuple(about.get("names", ())),
        sizes=tuple(about.get("sizes", ())),
        result=table.result(name) or {},
    )
