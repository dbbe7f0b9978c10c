"""Which commands there are.

Only the one that is asked for is imported, and arguments are parsed by the standard library: a
tenant waits for all this before its program starts.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from fico.runtime.errors import UsageError

# In the order of the help; each is a module of fico.cli.
COMMANDS = {
    "run": "run a program as a tenant",
    "launch": "run several tenants as one",
    "status": "show the sessions and their tenants",
    "timeline": "show what a policy decided and when",
    "set": "change a tenant or a session while it runs",
    "down": "end a session",
    "profile": "learn what a program's kernels need, and look at it",
    "bench": "measure policies against each other",
    "plan": "how many GPUs models need, and which share one",
    "doctor": "look at what Fico needs on this machine",
    "demo": "show two tenants on an emulated GPU",
}


class Command(Protocol):
    """What the module of a command has; its docstring is the help."""

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; gives the exit code. FicoError for what can't be done."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        """UsageError in one line."""
        raise UsageError(message, f"see '{self.prog} --help'")


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; gives its exit code."""
    parser = Parser(
        prog="fico",
        description="Share one GPU among unmodified programs, under quotas.",
        epilog="\n".join(
            ["commands:", *(f"  {name:8} {summary}" for name, summary in COMMANDS.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the command")
    # The command's own arguments are not for this parser, whatever they look like.
    first = next((i for i, word in enumerate(arguments) if not word.startswith("-")), None)
    known = parser.parse_args(arguments if first is None else arguments[: first + 1])
    if known.version:
        return _print_version()
    if known.command is None or first is None:
        parser.print_help()
        return 0
    if known.command not in COMMANDS:
        parser.error(f"there is no command {known.command!r}, only {', '.join(COMMANDS)}")
    return _run(known.command, list(arguments[first + 1 :]))


def _run(name: str, arguments: list[str]) -> int:
    module = import_module(f"fico.cli.{name}")
    command = cast(Command, module)
    parser = Parser(
        prog=f"fico {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.prepare_parser(parser)
    words, rest = arguments, None
    if "--" in arguments:
        # argparse treats -- differently from version to version; here it begins a program.
        at = arguments.index("--")
        words, rest = arguments[:at], arguments[at + 1 :]
    known = parser.parse_args(words)
    if rest is not None:
        program = getattr(known, "program", None)
        if program is None:
            parser.error("-- begins a program, and this runs none")
        known.program = [*program, "--", *rest] if program else rest
    return command.run(known)


def _print_version() -> int:
    from importlib.metadata import version

    print(f"fico {version('fico')}")
    return 0
