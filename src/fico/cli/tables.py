"""Tables and long lines on the terminal, or in a pipe."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

# A pipe has no width: nothing is cut there.
_PIPE_WIDTH = 400


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal at most."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=_PIPE_WIDTH)).print(table)


def print_wrapped(text: str) -> None:
    """Print lines, those that are longer than the terminal is wide in several, between words."""
    from rich.console import Console

    console = Console()
    for line in text.splitlines():
        if console.is_terminal and len(line) > console.width:
            lead = line[: len(line) - len(line.lstrip())] + "  "
            line = textwrap.fill(
                line, console.width, subsequent_indent=lead, break_on_hyphens=False
            )
        print(line)
