"""The command line: ``landscape COMMAND``. One file a command; `app` finds them, `options` makes their options."""

from landscape.cli.app import main

__all__ = ["main"]
