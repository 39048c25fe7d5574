"""A user's own network: `path/to/file.py:factory` or `package.module:factory`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from landscape.errors import UserError
from landscape.user_code import import_file, importable, one_line

TIMM_SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")
"""What timm puts before the names of networks that are not in its own list."""


def is_factory_name(name: str) -> bool:
    """Whether a model name means a user's factory: of other names only those with a source of timm have a colon."""
    return ":" in name and not name.startswith(TIMM_SOURCES)


def build_from_factory(name: str) -> nn.Module:
    """Import the file or module and call the factory without arguments.

    Neighbouring files can be imported by it, as if Python had been started with that file; for a module, those in the
    current directory. This runs the user's code.

    Raises:
        UserError: the file, module or factory is missing, fails, or returns no network.
    """
    place, _, function_name = name.rpartition(":")
    is_file = place.endswith(".py")
    with importable(Path(place).resolve().parent if is_file else Path.cwd()):
        source = _file(Path(place)) if is_file else _import_module(place)
        factory = getattr(source, function_name, None)
        if isinstance(factory, nn.Module):
            raise UserError(
                f"{name} is a network itself; name a function without arguments that returns it, "
                f"such as factory in: def factory(): return {function_name}"
            )
        if not callable(factory):
            available = _functions(source)
            hint = f"; it has {', '.join(available)}" if available else ""
            raise UserError(f"{place} has no function {function_name!r}{hint}")
        return _call(factory, name)


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"there is no file {path}; give a network as path/to/file.py:factory")
    return import_file(path)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises, or an empty or relative name
        raise UserError(f"module {name!r} cannot be imported: {one_line(error)}") from error


def _call(factory: Callable[[], object], name: str) -> nn.Module:
    try:
        network = factory()
    except (Exception, SystemExit) as error:  # whatever the user's factory raises
        raise UserError(f"{name} raised {one_line(error)}; it must work without arguments") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} returned {type(network).__name__}; it must return a torch.nn.Module")
    return network


def _functions(source: ModuleType) -> list[str]:
    """Public functions defined in the module itself, the likely factories."""
    return [
        name
        for name, value in vars(source).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == source.__name__
    ]
