"""What pictures are drawn of: the surfaces and trajectories in run folders."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from landscape.scan import load_surface
from landscape.store import RunStore
from landscape.store.trajectories import TrajectoryTable
from landscape.surface import Surface
from landscape.trajectory import Trajectory, load_trajectories


class Run:
    """One run folder, read when something is asked for.

    Attributes:
        folder: Of the run.
        settings: Of the run.
        status: ``running`` or ``finished``, when it was opened.
        has_trajectories: Whether a search has begun in it.

    Raises:
        UserError: There is no run in the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        with RunStore.open(self.folder) as store:
            self.settings: dict[str, Any] = store.settings
            self.status = store.status
            self.has_trajectories = bool(TrajectoryTable(store).names())

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def is_scan(self) -> bool:
        """Whether it holds a surface."""
        return self.settings.get("kind") == "scan"

    @cached_property
    def surface(self) -> Surface:
        """The surface of a scan."""
        return load_surface(self.folder)

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """The trajectories of a search, with their coordinates."""
        return load_trajectories(self.folder, coordinates=True)

    @cached_property
    def scale_sizes(self) -> dict[str, int]:
        """How many numbers each scale that a scan moves has."""
        found = {name: self.array(f"quantized/{name}.scale") for name in self.settings["scales"]}
        return {name: int(np.size(array)) for name, array in found.items() if array is not None}

    def __repr__(self) -> str:
        """One line: which folder, what it holds."""
        return f"Run({self.name}, {self.settings.get('kind')}, {self.status})"

    def _repr_html_(self) -> str:
        """Tables of what it holds, for notebooks."""
        from landscape.plots.page import run_html

        return run_html(self)

    def meta(self, key: str) -> Any:
        """What the run keeps under a key, or None."""
        with RunStore.open(self.folder) as store:
            return store.get_meta(key)

    def array(self, name: str) -> Any:
        """A fixed array of the run; None if there is none of that name."""
        with RunStore.open(self.folder) as store:
            return store.load_array(name) if name in store.array_names() else None
