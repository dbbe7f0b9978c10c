"""Look at what Fico needs on this machine, and say how to mend what is wrong.

The exit code is 1 if something fails; a warning alone is none.
"""

import argparse
import os
import sys

from fico.cli import options

_COLOURS = {"ok": 32, "warn": 33, "fail": 31}


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_gpu(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each thing that was looked at."""
    from fico.runtime.doctor import examine
    from fico.runtime.gpus import selected_gpu

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    failed = False
    for finding in examine(selected_gpu(arguments.gpu)):
        failed |= finding.level == "fail"
        level = f"{finding.level:4}"
        if coloured:
            level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        print(f"{level}  {finding.subject}: {finding.text}{remedy}", flush=True)
    return 1 if failed else 0
