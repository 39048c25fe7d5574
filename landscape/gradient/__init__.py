"""Gradients of a problem's loss over its scales: estimators by name, and finite differences."""

from landscape.gradient.differences import Difference, coordinate_difference, directional_difference
from landscape.gradient.estimate import DTYPES, Gradient, gradient_at
from landscape.gradient.frozen import surrogate_losses
from landscape.gradient.straight_through import ESTIMATORS, Estimator, estimator
from landscape.gradient.surrogate import Surrogate

__all__ = [
    "DTYPES",
    "ESTIMATORS",
    "Difference",
    "Estimator",
    "Gradient",
    "Surrogate",
    "coordinate_difference",
    "directional_difference",
    "estimator",
    "gradient_at",
    "surrogate_losses",
]
