"""The program ``landscape``. It stands beside the package, whose import takes seconds in which Ctrl-C may come."""

from __future__ import annotations

import signal
import sys
import time

_interrupts: list[float] = []
"""When Ctrl-C came."""


def _interrupt(*_: object) -> None:
    """Ctrl-C; not again within a second, so that the run is closed and the user told how to go on."""
    _interrupts.append(time.monotonic())
    if len(_interrupts) == 1 or _interrupts[-1] - _interrupts[-2] > 1:
        raise KeyboardInterrupt


def main() -> int:
    """Run the command line of this process; see `landscape.cli.main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the caller has it ignored
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from landscape.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was stored", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: a further Ctrl-C must not break the exit


if __name__ == "__main__":
    sys.exit(main())
