"""Engines: they evaluate quantized networks, and all give the same integer codes."""

from landscape.engine.choice import ENGINES, Arithmetic, choose_engine
from landscape.engine.evaluator import Evaluator
from landscape.engine.reference import Reference

__all__ = ["ENGINES", "Arithmetic", "Evaluator", "Reference", "choose_engine"]
