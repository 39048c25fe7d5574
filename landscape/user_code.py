"""Python files of users: networks and optimizers of their own, named ``path/to/file.py:name``. This runs their code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from landscape.errors import UserError


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path, for as long as the user's code is imported and called."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def import_file(path: Path) -> ModuleType:
    """Run a file as a module, anew each time: it may have been edited in between.

    Args:
        path: Of a file that exists.

    Raises:
        UserError: It is no Python code, or raises.
    """
    # A name that no other module has: a file may be called random.py.
    name = f"{path.stem} at {path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be imported as Python code")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up what their annotations mean
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's file raises, also a script that reads its arguments
        raise UserError(f"{path} cannot be imported: {one_line(error)}") from error
    return module


def one_line(error: BaseException) -> str:
    """An exception's kind and the first line of what it says."""
    if isinstance(error, SystemExit):
        return 'it ends the program (SystemExit); keep what runs a script below if __name__ == "__main__"'
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
