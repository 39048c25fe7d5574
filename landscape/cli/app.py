"""The application: finds the commands, runs one, and turns what goes wrong into one line and an exit code.

Commands of other packages (`evolq`, or anybody's) come through the entry points ``landscape.commands``.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from landscape.cli.options import takes_options
from landscape.cli.runs import Interrupted, discard, say
from landscape.errors import UserError

COMMANDS: tuple[str, ...] = (
    "scan",
    "show",
    "table",
    "models",
    "engines",
    "quantize",
    "roughness",
    "refine",
    "curvature",
    "reliability",
    "plot",
    "report",
)
"""Commands of this package, in the order of the help: each a function of that name in the module of that name."""

_GROUP = "landscape.commands"
_INTERRUPTED = 130
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
"""What a standard stream fails with; all other files are written by functions that raise `UserError`."""

_ClickException: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The base of errors in the command line's own form; typer does not export it."""


def build_app() -> typer.Typer:
    """The application with all commands."""
    app = typer.Typer(
        name="landscape",
        help="See and measure how the loss of a quantized network changes as its quantization scales move.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_callback)
    for name in COMMANDS:
        _add(app, name, getattr(import_module(f"landscape.cli.{name}"), name))
    for point in sorted(entry_points(group=_GROUP), key=lambda found: found.name):
        _add(app, point.name, _load(point))
    return app


def _add(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    defaults: Mapping[str, Any] = getattr(function, "option_defaults", {})
    app.command(name)(takes_options(function, dict(defaults)))


def _load(point: EntryPoint) -> Callable[..., None]:
    """A command of another package; one that cannot be imported says so when it is called, and harms no other."""
    try:
        function: Callable[..., None] = point.load()
    except Exception as error:  # whatever that package raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]

        def broken() -> None:
            raise UserError(f"the command {point.name} of {point.value} cannot be imported: {reason}")

        broken.__doc__ = f"(cannot be imported: {reason})"
        return broken
    return function


def _show_version(wanted: bool) -> None:
    if wanted:
        from landscape import __version__

        print(__version__)
        raise typer.Exit


def _callback(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """See and measure how the loss of a quantized network changes as its quantization scales move."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        Exit code: 0, or 2 for a user's mistake (told in one line on standard error), 130 after Ctrl-C.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as with >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
    output = sys.stdout  # typer replaces it where a pipe is broken
    try:
        code = _run(arguments)
        output.flush()
        return code
    except (OSError, SystemExit) as stop:
        error = stop.__context__ if isinstance(stop, SystemExit) else stop  # typer makes an exit of a broken pipe
        if not isinstance(error, OSError) or error.errno not in _UNWRITABLE:
            raise
        discard(output)
        if isinstance(error, BrokenPipeError):  # the reader has gone; what it wanted was written
            return 0
        return _fail(f"cannot write the output: {error.strerror}; send it elsewhere")


def _run(arguments: list[str] | None) -> int:
    try:
        code = build_app()(args=arguments, standalone_mode=False)
    except UserError as error:
        return _fail(str(error))
    except _ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except Interrupted as error:
        say(f"\ninterrupted; {error}")
        return _INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # some versions of typer make an exit code of Ctrl-C, others an exception
        say("\ninterrupted; nothing was stored")
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int = 2) -> int:
    line = " ".join(message.split())
    say(f"error: {line}" if line else "error")
    return code
