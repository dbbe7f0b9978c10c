"""Lines for the person who looks on."""

import contextlib
import sys


def report(line: str) -> None:
    """Print a line on standard error."""
    # Where the terminal has gone, what runs has to go on.
    with contextlib.suppress(OSError):
        print(f"fico: {line}", file=sys.stderr, flush=True)
