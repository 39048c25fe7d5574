"""The command lines of the figures: their common options, and one line and an exit code for what goes wrong."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from figures.places import Place, place_for
from landscape.errors import UserError

FEWEST_IMAGES = 16
"""The noise floor of infoNCE needs four batches, and a batch of a few images."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a user's mistakes: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what `run_script` prints."""
        raise UserError(f"{message}; {Path(self.prog).name} --help lists the options")


def parser(description: str | None) -> Parser:
    """The command line of a figure, and of all."""
    made = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rerun", action="store_true", help="make the runs anew first; goes on where it was interrupted")
    add_place(made)
    return made


def add_place(made: argparse.ArgumentParser) -> None:
    """Options that say on how many images, and where runs and pictures go."""
    made.add_argument(
        "--images", type=int, help=f"with --rerun, fewer images ({FEWEST_IMAGES} or more), into runs/figures/quick"
    )
    made.add_argument("--out", type=Path, help="another folder for kept runs and pictures; this one stays as it is")


def place_of(options: argparse.Namespace) -> Place:
    """Where runs and pictures go.

    Raises:
        UserError: There are too few images, or the folder is a file.
    """
    if options.images is not None:
        if options.images < FEWEST_IMAGES:
            raise UserError(
                f"--images {options.images} is too few: the noise floor needs four batches of images; "
                f"give {FEWEST_IMAGES} or more"
            )
        if not getattr(options, "rerun", True):
            raise UserError("--images is of no use without --rerun: kept runs have the images that they have")
    place = place_for(options.images, options.out)
    place.make()
    return place


def run_script(main: Callable[[], None]) -> NoReturn:
    """Run the body of a script, and leave: 0, 2 for a user's mistake (told in one line), 130 after Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode if error.returncode > 0 else 1)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)
