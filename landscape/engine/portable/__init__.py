"""The portable engine: integer products and float32 kernels in PyTorch, exact, compiled where there is a compiler."""

from __future__ import annotations

from landscape.engine.portable.engine import Portable

__all__ = ["Portable"]
