"""Activation functions that only clamp: with a quantizer behind them, a quantizer of fewer codes.

Quantization is monotone, so quantize(clamp(x, a, b)) = clamp(quantize(x), quantize(a), quantize(b)), to the last code.
"""

from __future__ import annotations

import math

from landscape.graph import Node
from landscape.quant.network import ActivationQuantizer
from landscape.quant.qparams import CodeRange

_CLAMPS = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


def is_clamp(node: Node) -> bool:
    """Whether a node is such a function."""
    return node.op == "unary" and node.attrs["function"] in _CLAMPS


def codes_of_clamp(node: Node, quantizer: ActivationQuantizer) -> tuple[float, float]:
    """Lowest and highest code of such a function, by its quantizer."""
    scale, zero_point = float(quantizer.scale), float(quantizer.zero_point)
    largest = float(CodeRange(quantizer.bits).qmax)

    def code(x: float) -> float:
        t = x / scale + zero_point
        return min(max(float(round(t)), 0.0), largest) if math.isfinite(t) else largest

    low, high = _CLAMPS[node.attrs["function"]]
    return code(low), code(high)
