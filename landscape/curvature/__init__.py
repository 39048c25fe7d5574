"""Curvature of the loss over scales and weights, and how far a quadratic model of it holds."""

from landscape.curvature.fit import FitOptions, model_fits
from landscape.curvature.operator import KINDS, SurrogateCurvature
from landscape.curvature.records import Curvature, CurvatureReport, Density, ModelFit
from landscape.curvature.spectrum import Lanczos, hutch_plus_plus, hutchinson, lanczos, probes, spectral_density
from landscape.curvature.study import CurvatureOptions, curvature_study, measure

__all__ = [
    "KINDS",
    "Curvature",
    "CurvatureOptions",
    "CurvatureReport",
    "Density",
    "FitOptions",
    "Lanczos",
    "ModelFit",
    "SurrogateCurvature",
    "curvature_study",
    "hutch_plus_plus",
    "hutchinson",
    "lanczos",
    "measure",
    "model_fits",
    "probes",
    "spectral_density",
]
