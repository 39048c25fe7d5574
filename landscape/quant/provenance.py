"""Where a quantized network comes from, as plain data for the file that holds it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from landscape.images import ImageSet
from landscape.models import LoadedModel

PACKAGES = ("evolq-landscape", "torch", "timm", "numpy", "scipy", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a value."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "unknown"
    return found


def provenance(model: LoadedModel, calibration: ImageSet | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of `save_quantized` tells about its origin.

    Args:
        model: The float network.
        calibration: The images that the quantizers were calibrated on, if they were.
        settings: Further plain data, such as preset and seed.

    Returns:
        The settings, and: model, weights and their hash, number of classes, preprocessing, calibration images (source,
        seed, digest and the list of names), versions.
    """
    images = None
    if calibration is not None:
        images = {
            "count": len(calibration),
            "source": calibration.source,
            "split": calibration.split,
            "seed": calibration.seed,
            "sha256": calibration.digest(),
            "names": list(calibration.names),
        }
    preprocessing = model.preprocessing
    return {
        **settings,
        "model": model.name,
        "weights_from": model.weights,
        "weights_sha256": model.weights_sha256,
        "classes": model.num_classes,
        "preprocessing": {
            name: getattr(preprocessing, name)
            for name in ("size", "channels", "mean", "std", "resize", "crop", "interpolation")
        },
        "calibration": images,
        "versions": versions(),
    }
