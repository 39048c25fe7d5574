"""Engines: they evaluate quantized networks, and all but the inexact one give the same integer codes."""

from landscape.engine.choice import DEVICES, ENGINES, INEXACT, choose_engine
from landscape.engine.evaluator import Arithmetic, Evaluator
from landscape.engine.reference import Reference

__all__ = ["DEVICES", "ENGINES", "INEXACT", "Arithmetic", "Evaluator", "Reference", "choose_engine"]
