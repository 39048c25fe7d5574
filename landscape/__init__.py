"""Loss landscapes of quantized networks over their quantization scales.

>>> import landscape
>>> problem = landscape.load_problem(model="digits_vit", bits="w4a8", block=5)
>>> surface = landscape.scan(problem, dims=1, points=11)
"""

from landscape.errors import UserError
from landscape.problem import Problem
from landscape.scan import load_surface, scan
from landscape.setup import load_problem
from landscape.surface import Surface

__all__ = ["Problem", "Surface", "UserError", "load_problem", "load_surface", "scan"]
__version__ = "0.1.0"
