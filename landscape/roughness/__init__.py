"""Roughness of a surface, and whether it is real: measures, their intervals, the noise floor, replication."""

from landscape.roughness.compare import (
    GeneralisationGap,
    RankCorrelation,
    gap_lines,
    generalisation_gap,
    rank_correlations,
    rank_lines,
)
from landscape.roughness.estimate import SquaredEstimate, squared_estimate
from landscape.roughness.forms import FORMS, Form
from landscape.roughness.information import InformationContent, information_content
from landscape.roughness.measures import (
    correlation_length,
    largest_jump,
    plateau_share,
    quadratic_r2,
    quadratic_residual,
    relative_second_difference,
    second_difference,
    spread,
    total_variation,
)
from landscape.roughness.noise_floor import jaggedness_of_values, noise_floor
from landscape.roughness.quadratic import quadratic_fit
from landscape.roughness.records import (
    Measure,
    NoiseFloor,
    PopulationEstimate,
    Replication,
    Roughness,
    SizeCurve,
    Span,
)
from landscape.roughness.replication import replication
from landscape.roughness.report import roughness
from landscape.roughness.text import verdict_lines
from landscape.roughness.topology import MergeTree, count_minima, merge_tree, persistence_diagram, smad

__all__ = [
    "FORMS",
    "Form",
    "GeneralisationGap",
    "InformationContent",
    "Measure",
    "MergeTree",
    "NoiseFloor",
    "PopulationEstimate",
    "RankCorrelation",
    "Replication",
    "Roughness",
    "SizeCurve",
    "Span",
    "SquaredEstimate",
    "correlation_length",
    "count_minima",
    "gap_lines",
    "generalisation_gap",
    "information_content",
    "jaggedness_of_values",
    "largest_jump",
    "merge_tree",
    "noise_floor",
    "persistence_diagram",
    "plateau_share",
    "quadratic_fit",
    "quadratic_r2",
    "quadratic_residual",
    "rank_correlations",
    "rank_lines",
    "relative_second_difference",
    "replication",
    "roughness",
    "second_difference",
    "smad",
    "spread",
    "squared_estimate",
    "total_variation",
    "verdict_lines",
]
