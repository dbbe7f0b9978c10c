"""Run several tenants as one: fico launch tenants.toml

Their output comes with their names before it; one Ctrl-C ends all (SIGINT, SIGTERM after 5 s,
SIGKILL after 10 s; each further Ctrl-C goes one step on). The exit code is the first of the
tenants' that isn't 0. The file:

    gpu = 0                     # as in fico run; may be left out
    policy = "static"           # likewise
    timeline = "timelines"      # record there what the policy decides; may be left out

    [[tenant]]                  # one for each tenant
    name = "resnet"
    command = "python serve.py --port 8000"    # or ["python", "serve.py"]; no shell
    quota = "60%"
    memory = "20GiB"
    profiles = ["serve.fico"]
    priority = 0
    cwd = "serve"               # relative to the file, which is also the default
    env = { OMP_NUM_THREADS = "4" }
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fico.cli import options
from fico.cli.lines import report

_COLOURS = (36, 33, 32, 35, 34, 31)


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, help="the tenants, in TOML")
    options.add_gpu(parser)


def run(arguments: argparse.Namespace) -> int:
    """Start the file's tenants and wait for them."""
    from fico.runtime.gpus import selected_gpu
    from fico.runtime.launch import Launch
    from fico.runtime.launchfile import read_launch_file

    plan = read_launch_file(arguments.file)
    selector = selected_gpu(arguments.gpu or plan.gpu)
    return Launch(plan.tenants, selector, plan.policy, plan.settings, _prefixes, report).run()


def _prefixes(names: Sequence[str]) -> list[bytes]:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max(map(len, names))
    prefixes = []
    for number, name in enumerate(names):
        text = f"{name:{width}} | "
        if coloured:
            text = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{text}\x1b[0m"
        prefixes.append(text.encode())
    return prefixes
