"""Optimizers by name: through the entry points ``landscape.optimizers``, or from a file of one's own."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from evolq.optimizer import Optimizer
from landscape.errors import UserError
from landscape.user_code import import_file, importable

GROUP = "landscape.optimizers"


def method_names() -> list[str]:
    """Names of all optimizers that are installed, those of other packages among them; sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_method(name: str, preset: str | None = None) -> type[Optimizer]:
    """The class of an optimizer.

    Args:
        name: As installed, or ``path/to/file.py:Class``.
        preset: A preset may stand for a class of its own.

    Raises:
        UserError: There is none of that name, it cannot be imported, it is no optimizer, or it has no such preset.
    """
    if ":" in name:
        return _checked(_from_file(name), name)
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        near = difflib.get_close_matches(name, method_names(), 1)
        hint = f"did you mean {near[0]}? All: " if near else "give one of "
        raise UserError(f"unknown method {name!r}; {hint}{', '.join(method_names())}, or path/to/file.py:Class")
    try:
        found = _checked(points[0].load(), name)
    except ImportError as error:
        raise UserError(f"the method {name} ({points[0].value}) cannot be imported: {error}") from error
    return _of_preset(found, name, preset)


def _of_preset(found: type[Optimizer], name: str, preset: str | None) -> type[Optimizer]:
    if preset is None:
        return found
    if preset not in found.PRESETS:
        raise UserError(f"method {name} has no preset {preset!r}; it has {', '.join(found.PRESETS) or 'none'}")
    place = found.PRESETS[preset].get("class")
    if place is None:
        return found
    module, _, attribute = place.partition(":")
    return _checked(getattr(importlib.import_module(module), attribute), name)


def _checked(found: Any, name: str) -> type[Optimizer]:
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise UserError(f"method {name} is no subclass of evolq.Optimizer; see the docstring of evolq.optimizer")
    return found


def _from_file(name: str) -> Any:
    place, _, attribute = name.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise UserError(f"--method {name!r}: there is no file {path}; give path/to/file.py:Class")
    with importable(path.resolve().parent):
        module = import_file(path)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UserError(f"--method {name!r}: {path} has no attribute {attribute!r}") from None
