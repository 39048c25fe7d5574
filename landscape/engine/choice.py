"""Which engine: by name, or the fastest that the machine has."""

from __future__ import annotations

from collections.abc import Callable

from landscape.engine.evaluator import Arithmetic
from landscape.engine.reference import Reference
from landscape.errors import UserError


def _reference() -> tuple[Arithmetic | None, str]:
    return Reference, "plain float64"


def _native() -> tuple[Arithmetic | None, str]:
    from landscape.engine.native import Native, native_available

    available, words = native_available()
    return (Native, f"compiled kernels, {words}") if available else (None, words)


ENGINES: dict[str, Callable[[], tuple[Arithmetic | None, str]]] = {"native": _native, "reference": _reference}
"""By name, the fastest first; each returns the engine, or None and why it is not to be had."""


def choose_engine(name: str = "auto", device: str = "cpu") -> tuple[Arithmetic, str]:
    """An engine and a line that says which it is, and why faster ones were passed over.

    Args:
        name: ``auto`` for the fastest at hand, or one of `ENGINES`.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: There is no engine of that name, or it is not to be had on this machine.
    """
    if name != "auto" and name not in ENGINES:
        raise UserError(f"unknown engine {name!r}; give auto, {', '.join(ENGINES)}")
    passed_over = []
    for candidate, find in ENGINES.items():
        if name not in ("auto", candidate):
            continue
        engine, words = find()
        if engine is not None:
            return engine, "; ".join([f"engine {candidate} ({words})", *passed_over])
        if name == candidate:
            raise UserError(f"engine {name} is not to be had: {words}; use --engine auto")
        passed_over.append(f"not {candidate}: {words}")
    raise AssertionError("the reference engine is always there")
