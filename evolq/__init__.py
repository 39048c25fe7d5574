"""Optimizers that walk on the loss surface of a quantized network: Evol-Q and its rivals, at one budget.

In five lines::

    import evolq

    study = evolq.load_study(model="digits_vit", bits="w3a8", search_images=200)
    found = evolq.optimize(study, "evolq/ours")
    print(found.trajectory, found.result["end"]["test"])
"""

from evolq.driver import Driver
from evolq.objective import FunctionObjective, NetworkObjective, Objective
from evolq.optimizer import Answer, Optimizer, Query
from evolq.registry import find_method, method_names
from evolq.run import Found, MethodOptions, optimize
from evolq.space import SpaceInfo, SpaceOptions
from evolq.study import SearchOptions, Study, load_study

__all__ = [
    "Answer",
    "Driver",
    "Found",
    "FunctionObjective",
    "MethodOptions",
    "NetworkObjective",
    "Objective",
    "Optimizer",
    "Query",
    "SearchOptions",
    "SpaceInfo",
    "SpaceOptions",
    "Study",
    "find_method",
    "load_study",
    "method_names",
    "optimize",
]
