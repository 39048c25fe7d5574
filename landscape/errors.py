"""The one exception that a user's mistake raises."""

from __future__ import annotations


class UserError(Exception):
    """Input that cannot be used, told in one line: what was wrong, what was expected, what to do.

    The command line prints the message and exits with code 2; no traceback is shown.
    """
