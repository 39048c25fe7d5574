"""Which engine: by name, or the fastest that the machine has."""

from __future__ import annotations

from collections.abc import Callable

import torch

from landscape.engine.evaluator import Arithmetic
from landscape.engine.reference import Reference
from landscape.errors import UserError

Found = tuple[Arithmetic | None, str]
"""An engine and words about it, or None and why it is not to be had."""


def _native(device: str) -> Found:
    if device != "cpu":
        return None, f"runs on the CPU only, not on {device}"
    from landscape.engine.native import Native, native_available

    available, words = native_available()
    return (Native, f"compiled kernels, {words}") if available else (None, words)


def _portable(device: str) -> Found:
    from landscape.engine.portable import portable

    return portable(device)


def _reference(device: str) -> Found:
    return (Reference, "plain float64") if device == "cpu" else (None, f"runs on the CPU only, not on {device}")


def _float32(device: str) -> Found:
    if device != "cpu":
        return None, f"runs on the CPU only, not on {device}"
    from landscape.engine.portable.inexact import Float32

    return Float32, "INEXACT: plain float32 fake quantization, whose codes are not those of the other engines"


ENGINES: dict[str, Callable[[str], Found]] = {"native": _native, "portable": _portable, "reference": _reference}
"""By name, the fastest first; each takes the device. All give the same integer codes."""

INEXACT: dict[str, Callable[[str], Found]] = {"float32": _float32}
"""Taken only when asked for by name: they show what float32 rounding does to a surface."""

DEVICES = ("cpu", "cuda")


def choose_engine(name: str = "auto", device: str = "cpu") -> tuple[Arithmetic, str]:
    """An engine and a line that says which it is, and why faster ones were passed over.

    Args:
        name: ``auto`` for the fastest at hand, one of `ENGINES`, or one of `INEXACT`.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: There is no engine or device of that name, or it is not to be had on this machine.
    """
    known = {**ENGINES, **INEXACT}
    if name != "auto" and name not in known:
        raise UserError(f"unknown engine {name!r}; give auto, {', '.join(known)}")
    _check_device(device)
    passed_over: list[str] = []
    for candidate, find in (ENGINES if name == "auto" else {name: known[name]}).items():
        engine, words = find(device)
        if engine is not None:
            return engine, "; ".join([f"engine {candidate} ({words})", *passed_over])
        if name == candidate:
            raise UserError(f"engine {name} is not to be had: {words}; use --engine auto")
        passed_over.append(f"not {candidate}: {words}")
    raise AssertionError("the portable engine is always there")


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise UserError(f"unknown device {device!r}; give {' or '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that PyTorch can use; use --device cpu")
