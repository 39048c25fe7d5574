"""Small run folders for the tests of the report: stored with the store itself, not scanned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from landscape.scan import ScanOptions
from landscape.store import RunStore
from tests.plots.surfaces import SETTINGS, grid, line

SCALES = ["blocks.5.attn.qkv.weight", "blocks.5.attn.proj.weight"]


def stored_scan(folder: Path, points: int = 5, images: int = 40, dims: int = 2, **changes: Any) -> Path:
    """A run folder with the values of `tests.plots.surfaces.grid` (or `line`), finished."""
    surface = grid(points, points, images) if dims == 2 else line(points, images)
    settings = {
        **SETTINGS,
        "kind": "scan",
        "dims": dims,
        "points": points,
        "radius": float(surface.alpha[-1]),
        "images": images,
        "scales": SCALES,
        "scheme": {"weights": "4 bits <per channel>", "activations": "8 bits"},
        "weights_sha256": "w",
        "calib_images_sha256": "c",
        **changes,
    }
    arrays = {
        "directions": np.random.default_rng(0).standard_normal((dims, 8)),
        **{f"quantized/{name}.scale": np.ones(size) for name, size in zip(SCALES, (6, 2), strict=True)},
    }
    with RunStore.create(folder, settings, arrays) as store:
        store.set_meta("versions", {"evolq-landscape": "0.1.0"})
        store.set_meta("float_parts", ["biases of 3 layers", "norm: weight & <bias>"])
        store.set_meta("float_values", {"loss": 0.9, "top1": 81.1})
        axis = ScanOptions(dims=dims, points=points, radius=float(settings["radius"])).axis()
        for index, at in enumerate(np.ndindex(surface.shape)):
            coordinates = [float(axis[k]) for k in at]
            values = {name: float(value[at]) for name, value in surface.values.items()}
            store.save_point(index, coordinates, values, {n: v[at] for n, v in surface.per_image.items()}, 0.1)
        store.finish({"points": index + 1})
    return folder
