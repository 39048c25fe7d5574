"""Points of runs that the tests of the store write and check; numbers among them that are easily harmed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from landscape.store import JSON, RunStore

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, JSON] = {
    "model": "vit",
    "block": 5,
    "grid": {"points": 3, "radius": 0.05},
    "images": ["a.png", "b.png"],
}
IMAGES = 20

# A NaN with a payload, infinities, negative zero, the smallest and the largest number.
AWKWARD = np.array([0x7FF8000000000ABC, 0x7FF0000000000000, 1 << 63, 1, 0x7FEFFFFFFFFFFFFF], np.uint64).view(np.float64)


def point_values(index: int) -> dict[str, float]:
    generator = np.random.default_rng([index, 1])
    return {"loss": generator.normal(), "top1": float("nan") if index % 3 == 0 else generator.uniform(0, 100)}


def point_images(index: int, images: int = IMAGES) -> dict[str, npt.NDArray[np.float64]]:
    generator = np.random.default_rng([index, 2])
    cross_entropy = generator.normal(size=images)
    cross_entropy[: len(AWKWARD)] = AWKWARD
    return {"cross_entropy": cross_entropy, "correct": generator.integers(0, 2, images).astype(np.float64)}


def save(store: RunStore, index: int, images: int = IMAGES) -> None:
    store.save_point(index, [0.1 * index, -0.0], point_values(index), point_images(index, images), seconds=0.25)


def assert_points_are_whole(store: RunStore, indices: list[int]) -> None:
    table = store.values()
    assert table["index"].tolist() == indices
    assert store.done() == set(indices)
    for name in ("loss", "top1"):
        expected = np.array([point_values(index)[name] for index in indices])
        np.testing.assert_array_equal(table[name].to_numpy(), expected)
    for name in ("cross_entropy", "correct"):
        stored_indices, stored = store.per_image(name)
        assert stored_indices.tolist() == indices
        assert stored.tobytes() == b"".join(point_images(index)[name].tobytes() for index in indices)
