"""The portable engine: integer products and float32 kernels in PyTorch, exact, compiled where there is a compiler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from landscape.engine.portable.compiling import compiler
from landscape.engine.portable.engine import Portable
from landscape.engine.reference import Reference
from landscape.quant.network import QuantizedNetwork

__all__ = ["Portable", "portable"]


def portable(device: str) -> tuple[Callable[[QuantizedNetwork, Reference | None], Portable], str]:
    """The engine for a device, and in words how it works there."""
    return (Portable if device == "cpu" else partial(Portable, device=device)), f"on {device}, {compiler()[1]}"
