"""A network as a short list of named operations, taken from any PyTorch module by ``torch.export``.

``capture(module, example)`` returns a `Graph`; `operators` is the one place that says how each PyTorch
operation is taken apart, and `simplify` the one that folds batch norms and names what is left.
"""

from landscape.graph.capture import capture
from landscape.graph.ir import Graph, Node

__all__ = ["Graph", "Node", "capture"]
