"""Memory that PyTorch's CPU tensors take again and again."""

from __future__ import annotations

from functools import cache

import torch

_LARGEST_FREED = 32 << 20
"""glibc's DEFAULT_MMAP_THRESHOLD_MAX on 64-bit machines."""


@cache
def keep_memory() -> None:
    """Have glibc's malloc keep freed memory for the next tensor, in place of giving it back to the system.

    malloc maps blocks above a threshold from the system and gives them back when they are freed; when the next tensor
    takes them again, the system clears every page: a third of the time of a batch. The threshold follows the largest
    mapped block that has been freed, up to 32 MiB, and twice as much may then stay unused (mallopt(3),
    M_MMAP_THRESHOLD). So one such block, never written to, is taken and freed. Elsewhere it does nothing.
    """
    block = torch.empty(_LARGEST_FREED - (1 << 20), dtype=torch.uint8)
    del block
