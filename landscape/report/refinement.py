"""What `landscape refine` added to a scan: from which run, which grid lines, and how fine."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.plots.runs import Run
from landscape.scan import ScanOptions


def refinement(run: Run) -> dict[str, Any] | None:
    """The refinement of a run; None for a plain scan.

    Returns:
        ``from``: name of the run that was refined; ``x`` and ``y``: the level of each grid line, 0 for those of the
        first scan, k for one in the middle of a gap of 2^(1-k) of its step; ``words``.
    """
    if not run.is_scan or run.settings.get("refine") is None:
        return None
    step = ScanOptions(**{field.name: run.settings[field.name] for field in fields(ScanOptions)}).axis()
    surface = run.surface
    levels = [line_levels(axis, float(step[1] - step[0])) for axis in (surface.alpha, surface.beta) if axis is not None]
    origin = Path(str(run.meta("refined_from") or "")).name
    counts = np.bincount(np.concatenate(levels))
    added = ", ".join(f"{count} of level {level}" for level, count in enumerate(counts) if level and count)
    words = (
        f"Refined from {origin or 'another run'}: {counts.sum()} grid lines, {counts[0]} of the first scan"
        f"{', ' + added if added else ''}. A line of level k halves a gap of level k - 1, where the value changed most."
    )
    return {
        "from": origin,
        "x": levels[0].tolist(),
        "y": levels[1].tolist() if len(levels) == 2 else None,
        "words": words,
    }


def line_levels(axis: FloatArray, step: float) -> np.ndarray:
    """For each coordinate the smallest k for which it is a multiple of step / 2^k; shape of the axis, int64."""
    levels = np.zeros(len(axis), dtype=np.int64)
    for level in range(1, 40):
        places = axis * 2.0 ** (level - 1) / step
        levels[np.abs(places - places.round()) > 1e-6 * 2.0 ** (level - 1)] = level
    return levels
