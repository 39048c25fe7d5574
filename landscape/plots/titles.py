"""Words above a picture: which network, which scales, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from landscape.surface import Surface


class HasSettings(Protocol):
    """Anything with the settings of a run."""

    settings: dict[str, Any]


def surface_title(surface: Surface) -> str:
    """Network, bits and the scales that move; settings that a run lacks are left out."""
    settings = surface.settings
    network = _network(settings)
    return f"{network or 'quantized network'}: {_moved(settings.get('which'))} of {_where(settings)}"


def surface_subtitle(surface: Surface) -> str:
    """Direction, images, seed and points; for an unfinished surface, how many points there are so far."""
    settings = surface.settings
    parts = [
        _phrase("direction: {}" if surface.dims == 1 else "directions: {}", settings.get("direction")),
        _images(settings),
        _phrase("{} calibration images", settings.get("calib_images")),
        _phrase("seed {}", settings.get("seed")),
        " x ".join(str(n) for n in surface.shape) + " points",
        _phrase("cut through the centre along d{}", settings.get("cut")),
    ]
    if not surface.complete:
        computed = surface.computed
        parts.append(f"unfinished: {computed.sum()} of {computed.size} points computed")
    return ", ".join(part for part in parts if part)


def image_words(settings: Mapping[str, Any]) -> str:
    """What the images of a run are, in a word for labels: "test" (of the split ``val``) or "training".

    A setting ``images_are`` goes before both: a folder ``val`` may hold something else than the test images of a data
    set.
    """
    return str(settings.get("images_are") or {"train": "training"}.get(str(settings.get("split")), "test"))


def search_title(runs: Sequence[HasSettings]) -> str:
    """Network and bits of the first search among some runs."""
    found = [run for run in runs if run.settings.get("kind") != "scan"] or list(runs)
    settings = found[0].settings if found else {}
    network = _network(settings)
    return f"{network or 'quantized network'}: search over quantization scales"


def study_title(settings: Mapping[str, Any]) -> str:
    """Network, bits and the scales of a study, from its settings."""
    network = _network(settings)
    return f"{network or 'quantized network'}: {_moved(settings.get('which'))} of {_where(settings)}"


def study_subtitle(settings: Mapping[str, Any], words: str) -> str:
    """What a study measured, then where its network comes from."""
    parts = [
        words,
        _phrase("{} calibration images", settings.get("calib_images")),
        _phrase("seed {}", settings.get("seed")),
    ]
    return ", ".join(part for part in parts if part)


def _network(settings: Mapping[str, Any]) -> str:
    """Network and bits; of a network of one's own, its file and factory without the folders."""
    model = _words(settings.get("model"))
    model = model.rpartition("/")[2] if ".py:" in model else model
    return ", ".join(part for part in (model, _words(settings.get("bits"))) if part)


def _moved(which: Any) -> str:
    moved = {"weight": "weight scales", "activation": "activation scales", "both": "weight and activation scales"}
    return moved.get(_words(which), "scales")


def _where(settings: Mapping[str, Any]) -> str:
    block, layers = _words(settings.get("block")), _words(settings.get("layers"))
    if block:
        return f"block {block}"
    return f"layers {layers}" if layers else place_of_scales(settings.get("scales") or ())


def place_of_scales(scales: Sequence[str]) -> str:
    """Where scales are whose place nobody asked for: their block, or the layers that they have in common."""
    layers = [str(name).rpartition(".")[0].split(".") for name in scales]
    common = []
    for parts in zip(*layers, strict=False):
        if len({*parts}) > 1:
            break
        common.append(parts[0])
    if len(common) > 1 and common[0] == "blocks" and common[1].isdigit():
        return f"block {common[1]}"
    if not common:
        return "the network"
    return f"layers {'.'.join(common)}" + (".*" if any(len(layer) > len(common) for layer in layers) else "")


def _images(settings: Mapping[str, Any]) -> str:
    """How many images of what kind, and the folder they come from (its last part and the split), if any is named."""
    count = _phrase("{} images", settings.get("images"))
    data = _words(settings.get("data")).rstrip("/").rpartition("/")[2]
    folder = f" ({data}/{_words(settings.get('split')) or 'val'})" if data else ""
    return count.replace(" images", f" {image_words(settings)} images{folder}")


def _phrase(pattern: str, value: Any) -> str:
    written = f"{value:,}" if isinstance(value, int) and "images" in pattern else _words(value)
    return pattern.format(written) if written else ""


def _words(value: Any) -> str:
    """A setting on one line; empty for an absent one."""
    return "" if value is None else " ".join(str(value).split())
