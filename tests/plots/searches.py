"""Searches with known points, and run folders with them, for the tests of their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from landscape.store import RunStore
from landscape.store.trajectories import StepRow, TrajectoryTable
from landscape.trajectory import Trajectory

NAMES = ("blocks.5.attn.qkv.weight", "blocks.5.attn.proj.weight")
SIZES = (6, 2)
SETTINGS: dict[str, Any] = {
    "kind": "optimize",
    "model": "deit_tiny_patch16_224",
    "bits": "w4a8",
    "weights_sha256": "w",
    "calib_images_sha256": "c",
    "seed": 3,
    "search_images": 100,
}


def search(label: str = "evolq", seed: int = 0, steps: int = 30, finished: bool = True, **changes: Any) -> Trajectory:
    """A random walk that goes on from every third point; its loss falls as 1/(1 + step), with noise of its own."""
    generator = np.random.default_rng([seed, len(label)])
    moves = generator.normal(0.0, 0.01, size=(steps, sum(SIZES)))
    moves[0] = 0.0
    value = 26.0 + 1.0 / (1.0 + np.arange(steps)) + np.abs(generator.normal(0.0, 0.02, steps))
    value[0] = 27.0
    fields: dict[str, Any] = {
        "method": label.split(" ")[0],
        "preset": None,
        "seed": seed,
        "label": label,
        "loss": "infonce",
        "cost": 100.0 * np.arange(1, steps + 1),
        "value": value,
        "best": np.minimum.accumulate(value),
        "seconds": 0.5 * np.arange(1, steps + 1),
        "block": np.zeros(steps, dtype=np.int64),
        "accepted": np.arange(steps) % 3 == 0,
        "images": np.full(steps, 100, dtype=np.int64),
        "coordinates": moves.cumsum(axis=0),
        "names": NAMES,
        "sizes": SIZES,
        "result": _result(value.min(), seed) if finished else {},
    }
    return Trajectory(**{**fields, **changes})


def _result(lowest: float, seed: int) -> dict[str, Any]:
    return {
        "start": {"search": {"infonce": 27.0, "loss": 1.5}, "test": {"infonce": 27.1, "loss": 1.6, "top1": 69.0}},
        "end": {
            "search": {"infonce": lowest, "loss": 1.4},
            "test": {"infonce": lowest + 0.1, "loss": 1.5 - 0.01 * seed, "top1": 70.0 + seed},
        },
        "selected_on_test": False,
    }


def stored(folder: Path, trajectories: list[Trajectory], **changes: Any) -> Path:
    """A run folder with these trajectories."""
    with RunStore.create(folder, {**SETTINGS, **changes}) as store:
        table = TrajectoryTable(store)
        for each in trajectories:
            name = f"{each.label}/seed{each.seed}"
            about = {key: getattr(each, key) for key in ("method", "preset", "seed", "label", "loss")}
            table.add(name, {**about, "names": list(each.names), "sizes": list(each.sizes)})
            table.append(name, [_row(each, step) for step in range(len(each))], b"")
            if each.result:
                table.finish(name, dict(each.result))
    return folder


def _row(trajectory: Trajectory, step: int) -> StepRow:
    points = trajectory.coordinates
    return StepRow(
        cost=float(trajectory.cost[step]),
        value=float(trajectory.value[step]),
        best=float(trajectory.best[step]),
        seconds=float(trajectory.seconds[step]),
        block=int(trajectory.block[step]),
        accepted=bool(trajectory.accepted[step]),
        images=int(trajectory.images[step]),
        coordinates=None if points is None else points[step],
    )
