"""Whether a surface is rough beyond the noise of its images, in a few words and numbers for pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from landscape.plots.info.words import value_text
from landscape.roughness.records import PopulationEstimate
from landscape.roughness.text import said

Found = Mapping[str, PopulationEstimate | str]
"""What `landscape.roughness.jaggedness_of_values` finds."""


@dataclass(frozen=True)
class Verdict:
    """Whether one value is rough.

    Attributes:
        said: "yes", "not shown" or "not known", as `landscape.roughness.verdict_lines` says it.
        jaggedness: As measured on these images, root mean square; NaN where it is not known.
        floor: What noise alone would show at most, 19 times of 20.
        images_needed: To show the jaggedness that is there; infinity or NaN where no number would, as far as is known.
        unit: Of jaggedness and floor.
        reason: Why it is not known; else empty.
    """

    said: str
    jaggedness: float
    floor: float
    images_needed: float
    unit: str
    reason: str = ""


def verdicts_of(found: Found) -> dict[str, Verdict]:
    """The verdicts on all values of a surface, by name."""
    return {name: _verdict(estimate) for name, estimate in found.items()}


def verdict_words(verdicts: Mapping[str, Verdict]) -> str:
    """One line: "is it rough beyond noise of the images? cross-entropy: not shown, infoNCE: yes"; empty without any."""
    words = [f"{value_text(name).short}: {verdict.said}" for name, verdict in verdicts.items()]
    return f"is it rough beyond noise of the images? {', '.join(words)}" if words else ""


def _verdict(estimate: PopulationEstimate | str) -> Verdict:
    if isinstance(estimate, str):
        return Verdict(said(estimate), math.nan, math.nan, math.nan, "", estimate)
    jaggedness, floor = (math.sqrt(each) for each in (estimate.measured, estimate.floor))
    return Verdict(said(estimate), jaggedness, floor, estimate.images_needed, estimate.unit.removesuffix("^2"))
