"""Arrays inside a page: base64 of their bytes, little endian, so that a page reads them fast and bit for bit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from landscape.bootstrap import FloatArray


def packed(values: FloatArray, *, exact: bool = True) -> dict[str, Any]:
    """An array in C order; NaN and infinity stay.

    Args:
        values: Any shape.
        exact: As float64; else as float32, enough for what is only drawn.

    Returns:
        ``type`` ("f8" or "f4") and ``data``.
    """
    kind = "<f8" if exact else "<f4"
    data = np.ascontiguousarray(values, dtype=kind).tobytes()
    return {"type": kind[1:], "data": base64.b64encode(data).decode()}
