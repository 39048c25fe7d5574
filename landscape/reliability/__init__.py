"""How far gradients over scales can be trusted."""

from landscape.reliability.agreement import agreements, measure_slopes, probe_directions
from landscape.reliability.descent import descend
from landscape.reliability.flips import distances, flip_distance, flipped_share
from landscape.reliability.records import Agreement, Descent, FlipDistance, ReliabilityReport
from landscape.reliability.study import ReliabilityOptions, reliability_study

__all__ = [
    "Agreement",
    "Descent",
    "FlipDistance",
    "ReliabilityOptions",
    "ReliabilityReport",
    "agreements",
    "descend",
    "distances",
    "flip_distance",
    "flipped_share",
    "measure_slopes",
    "probe_directions",
    "reliability_study",
]
