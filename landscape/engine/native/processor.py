"""What this processor can do, and what the operating system lets it do."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from pathlib import Path

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""Linux on x86-64: the system call, ARCH_REQ_XCOMP_PERM, and XFEATURE_XTILEDATA."""


@cache
def processor_flags() -> frozenset[str]:
    """Instruction sets as Linux's cpuinfo names them; none on other systems and processors."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), ()))


@cache
def tiles_denied() -> str | None:
    """Ask for the use of AMX's tiles, for all threads of this process; why they are not to be had, or None.

    Linux keeps their 8 KiB of state out of signal frames until a process asks for them, and stops one that does not.
    """
    system = ctypes.CDLL(None, use_errno=True)
    system.syscall.restype = ctypes.c_long
    numbers = (_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)
    if system.syscall(*(ctypes.c_long(number) for number in numbers)) == 0:
        return None
    return f"the operating system does not permit its tiles: {os.strerror(ctypes.get_errno())}"
