"""``python -m landscape`` does what the command ``landscape`` does."""

import sys

from landscape_program import main

if __name__ == "__main__":
    sys.exit(main())
