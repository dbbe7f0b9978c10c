"""Measure policies against each other.

    fico bench list                               suites, workloads, policies, devices
    fico bench run poster --out results/poster    a suite under all policies, in the simulator
    fico bench compare results/poster DIR...      what came out, of one run or of several
    fico bench sweep SUITE POLICY SETTING=A,B,C --out DIR    settings of a policy against each other
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fico.bench.policy import Policy

_DEFAULT_SEED = 1


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="suites, workloads, policies and devices")
    run = actions.add_parser("run", help="run a suite")
    _add_run_options(run)
    run.add_argument(
        "--policies",
        default="all",
        metavar="A,B,...",
        help="default: all; with settings: 'orion[outstanding_us=50]'",
    )
    compare = actions.add_parser("compare", help="show results")
    compare.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of 'run --out'")
    sweep = actions.add_parser("sweep", help="try a policy's settings")
    _add_run_options(sweep)
    sweep.add_argument("policy", help="the policy")
    sweep.add_argument(
        "settings", nargs="+", metavar="SETTING=A,B,...", help="all combinations are tried"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="the name of a suite, or a .toml file")
    parser.add_argument(
        "--device", default="sim", metavar="sim|emulated|cuda", help="default: sim"
    )
    parser.add_argument(
        "--seed", type=int, default=_DEFAULT_SEED, metavar="N", help="of the arrivals; default: 1"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="results; goes on if it was stopped"
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="least of each tenant; default: the suite's"
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes; default: one a core"
    )
    parser.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="profiles that go before those that ship; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    return {"list": _list, "run": _run, "compare": _compare, "sweep": _sweep}[arguments.action](
        arguments
    )


def _list(arguments: argparse.Namespace) -> int:
    from fico.bench.devices import DEVICES
    from fico.bench.policy import POLICIES
    from fico.bench.suites import suites
    from fico.bench.workload import WORKLOADS

    parts = {
        "suites": {suite.name: f"{len(suite.cells)} cells: {suite.what}" for suite in suites()},
        "workloads": WORKLOADS,
        "policies": POLICIES,
        "devices": DEVICES,
    }
    width = max(len(name) for part in parts.values() for name in part)
    for title, part in parts.items():
        print(f"{title}:")
        for name, what in part.items():
            print(f"  {name:{width}}  {what}")
    return 0
