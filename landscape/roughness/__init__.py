"""Roughness of a surface, and whether it is real: measures, their intervals, the noise floor, replication."""

from landscape.roughness.records import (
    Measure,
    NoiseFloor,
    PopulationEstimate,
    Replication,
    Roughness,
    SizeCurve,
    Span,
)

__all__ = [
    "Measure",
    "NoiseFloor",
    "PopulationEstimate",
    "Replication",
    "Roughness",
    "SizeCurve",
    "Span",
]
