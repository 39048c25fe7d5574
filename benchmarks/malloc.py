"""What malloc does with freed memory, left alone or set.

Left alone, glibc begins by giving large pieces back to the system, which clears every page of the next ones, and
raises, when such pieces are freed, the size from which it does so. Eager PyTorch, whose every operation takes new
memory, can lose half of its time to that. So both are measured: malloc as whoever runs a program has it, and malloc
told to keep what is freed, with which eager PyTorch is at its fastest.
"""

from __future__ import annotations

import ctypes

LEFT_ALONE, KEPT = "left to malloc", "kept"

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
_VALUES = {_MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 2**31 - 1}  # the most that glibc takes


def policies() -> tuple[str, ...]:
    """What there is here, in the order in which a process can have them."""
    return (LEFT_ALONE, KEPT) if hasattr(ctypes.CDLL(None), "mallopt") else (LEFT_ALONE,)


def set_policy(policy: str) -> None:
    """From now on, in this process. Keeping ends glibc's own adjustments, so it comes last."""
    if policy == KEPT and not all(ctypes.CDLL(None).mallopt(name, value) for name, value in _VALUES.items()):
        raise RuntimeError("malloc has refused its settings")
