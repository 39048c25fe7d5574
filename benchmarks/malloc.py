"""What malloc does with freed memory, set rather than left to chance.

glibc begins by giving large pieces back to the system at once, which then clears every page of the next ones: eager
PyTorch, whose every operation takes new memory, can lose half of its time to that. When such pieces are freed glibc
raises the size from which it does so, up to 32 MiB, so that a process may also keep its memory and be twice as fast.
How much of the two a benchmark meets depends on what was freed before. So all three are measured: malloc left alone,
as whoever runs the program has it, and both ends.
"""

from __future__ import annotations

import ctypes

LEFT_ALONE, GIVEN_BACK, KEPT = "as malloc likes", "given back", "kept"

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
_VALUES = {GIVEN_BACK: (128 * 2**10, 128 * 2**10), KEPT: (32 * 2**20, 2**31 - 1)}  # what glibc begins with; its most


def policies() -> tuple[str, ...]:
    """What there is here, in the order in which a process can have them: the ends only where malloc is glibc's."""
    return (LEFT_ALONE, GIVEN_BACK, KEPT) if hasattr(ctypes.CDLL(None), "mallopt") else (LEFT_ALONE,)


def set_policy(policy: str) -> None:
    """From now on, in this process. Setting one of the ends ends glibc's own adjustments, so leave it alone before."""
    if policy == LEFT_ALONE:
        return
    mmap, trim = _VALUES[policy]
    mallopt = ctypes.CDLL(None).mallopt
    if not (mallopt(_MMAP_THRESHOLD, mmap) and mallopt(_TRIM_THRESHOLD, trim)):
        raise RuntimeError("malloc has refused its settings")
