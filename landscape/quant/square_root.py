"""The square root that IEEE 754 defines: the float64 number nearest to the real one.

PyTorch's own on the CPU is not it: MKL's vectors of float64 square roots miss the last bit for about one number in a
hundred, so values would depend on the library.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def square_root(x: Tensor) -> Tensor:
    """Square roots of a float64 tensor, rounded once; NaN of negative numbers. On its device."""
    if x.device.type != "cpu":
        return torch.sqrt(x)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.sqrt(x.detach().numpy())))
