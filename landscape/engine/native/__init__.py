"""The native engine: kernels in C++, compiled on first use, for AMX, AVX512-VNNI, AVX2 or any processor."""

from __future__ import annotations

from landscape.engine.native.build import NativeUnavailable, chosen_instruction_set, load, usable_instruction_set
from landscape.engine.native.engine import Native

__all__ = ["Native", "NativeUnavailable", "native_available"]


def native_available() -> tuple[bool, str]:
    """Whether the engine is to be had; the instruction set, or why not. Compiles the kernels if need be."""
    try:
        name = chosen_instruction_set()
        load(name)
    except NativeUnavailable as error:
        return False, str(error)
    passed_over = usable_instruction_set()[1] if name == usable_instruction_set()[0] else ()
    return True, "; ".join([name, *passed_over])
