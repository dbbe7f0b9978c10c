"""Measure policies against each other.

fico bench list                               suites, workloads, policies, devices
fico bench run poster --out results/poster    a suite under all policies, in the simulator
fico bench run poster --device cuda --out results/gpu    with real processes on a GPU
fico bench compare results/poster DIR...      what came out, of one run or of several
fico bench sweep SUITE POLICY SETTING=A,B,C --out DIR    settings of a policy against each other
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico.cli import lines, options
from fico.cli.tables import print_table, print_wrapped

if TYPE_CHECKING:
    from fico.bench.live_device import LiveDevice
    from fico.bench.policy import Policy
    from fico.bench.runner import Step

_DEFAULT_SEED = 1


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="suites, workloads, policies and devices")
    listing.add_argument("--settings", action="store_true", help="the policies' settings instead")
    run = actions.add_parser("run", help="run a suite")
    _add_run_options(run)
    run.add_argument(
        "--policies",
        default="all",
        metavar="A,B,...",
        help="default: all that the device has; with settings: 'orion[small_percent=25]'",
    )
    compare = actions.add_parser("compare", help="show results")
    compare.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of 'run --out'")
    join = actions.add_parser("join", help="put parts of a suite together")
    join.add_argument("suite", help="the name of the suite, or its .toml file")
    join.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of 'run --cells'")
    join.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    sweep = actions.add_parser("sweep", help="try a policy's settings")
    _add_run_options(sweep)
    sweep.add_argument("policy", help="the policy")
    sweep.add_argument(
        "settings", nargs="+", metavar="SETTING=A,B,...", help="all combinations are tried"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="the name of a suite, or a .toml file")
    parser.add_argument("--device", default="sim", metavar="sim|emulated|cuda", help="default: sim")
    parser.add_argument(
        "--seed", type=int, default=_DEFAULT_SEED, metavar="N", help="of the arrivals; default: 1"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="results; goes on if it was stopped"
    )
    parser.add_argument(
        "--capacity-of",
        type=Path,
        metavar="DIR",
        help="arrive as in the results there, such as measured ones; default: find the capacity",
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="least of each tenant; default: the suite's"
    )
    parser.add_argument(
        "--cells",
        metavar="PATTERN,...",
        help="only those with such a name, as of files: '4x*,*_closed'; default: all",
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="of the simulator; default: one a core"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="run each cell in N parts, its policies in turn; default: 1 in the simulator, else 2",
    )
    parser.add_argument(
        "--budget-s",
        type=float,
        metavar="S",
        help="real processes: begin no cell that would end later than this; the rest is for later",
    )
    parser.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="profiles that go before those that ship; may be repeated",
    )
    options.add_timeline(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    if arguments.action == "list":
        return _list_settings() if arguments.settings else _list()
    actions = {"run": _run, "compare": _compare, "join": _join, "sweep": _sweep}
    return actions[arguments.action](arguments)


def _list() -> int:
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


def _list_settings() -> int:
    from fico.runtime.policies import policy_settings

    for policy, settings in policy_settings().items():
        print(f"{policy}:{'' if settings else ' none'}")
        for setting in settings:
            limits = f"{setting['lowest']:g} to {setting['highest']:g}"
            print_wrapped(f"  {setting['name']}={setting['initial']:g} ({limits})")
            print_wrapped(f"    {setting['meaning']}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from fico.bench.devices import policies_on
    from fico.bench.policy import parse_policies

    words = arguments.policies
    if words.strip() == "all":
        words = ",".join(policies_on(arguments.device))
    summary = _measure(arguments, parse_policies(words))
    _show(summary)
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from fico.bench.store import write_json
    from fico.bench.sweep import combinations
    from fico.report.bench import sweep_rows, sweep_table

    summary = _measure(arguments, combinations(arguments.policy, arguments.settings))
    write_json(arguments.out / "sweep.json", sweep_rows(summary, arguments.policy))
    print()
    print_table(sweep_table(summary, arguments.policy))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from fico.bench.fidelity import differences
    from fico.bench.store import read_summary
    from fico.report.bench import difference_sentences, difference_table

    summaries = [read_summary(folder) for folder in arguments.folders]
    for summary in summaries:
        _show(summary)
    for folder, summary in zip(arguments.folders[1:], summaries[1:], strict=True):
        found = differences(summaries[0], summary)
        print_wrapped(f"\nmean latencies of {arguments.folders[0]} against those of {folder}:\n")
        if not found:
            print("no cell was run in both under the same policy")
            continue
        print_table(difference_table(found))
        print()
        for line in difference_sentences(found):
            print_wrapped(line)
    return 0


def _join(arguments: argparse.Namespace) -> int:
    from fico.bench.store import Store, read_header
    from fico.bench.suites import find_suite
    from fico.bench.summary import join_summaries
    from fico.runtime.errors import UsageError

    if arguments.out.exists():
        raise UsageError(f"{arguments.out} is there already", "choose another --out")
    suite = find_suite(arguments.suite)
    header = read_header(arguments.folders[0])
    if header.suite != suite.name:
        raise UsageError(
            f"{arguments.folders[0]} holds results of {header.suite}, not of {suite.name}",
            f"say {header.suite}, or its .toml file",
        )
    store = Store(arguments.out, header)
    try:
        _show(join_summaries(store, suite, arguments.folders))
    finally:
        store.close()
    return 0


def _measure(arguments: argparse.Namespace, policies: Sequence[Policy]) -> dict[str, Any]:
    """Run what is missing, with a progress bar; gives the summary. What was done is kept."""
    from fico.bench.devices import LIVE_ROUNDS, open_device
    from fico.bench.live_device import LiveDevice
    from fico.bench.live_runner import run_live
    from fico.bench.runner import run_suite
    from fico.bench.store import Header, Store
    from fico.bench.suites import find_suite
    from fico.bench.summary import write_summary

    _check_numbers(arguments)
    suite = find_suite(arguments.suite)
    wanted = suite if arguments.cells is None else suite.only(arguments.cells.split(","))
    device = open_device(arguments.device, wanted.models, arguments.profiles, arguments.timeline)
    for policy in policies:
        device.check(policy)
    if isinstance(device, LiveDevice):
        _report_unprofiled(device, policies)
    requests = arguments.requests or suite.requests
    rounds = arguments.rounds or (LIVE_ROUNDS if isinstance(device, LiveDevice) else 1)
    header = Header(device.name, device.gpu, suite.name, arguments.seed, requests, rounds)
    store = Store(arguments.out, header)
    left = 0
    try:
        if arguments.capacity_of is not None:
            store.take_capacities(arguments.capacity_of)
        with _progress() as report:
            if isinstance(device, LiveDevice):
                with device:
                    left = run_live(wanted, policies, device, store, arguments.budget_s, report)
            else:
                run_suite(wanted, policies, device, store, arguments.workers, report)
    except KeyboardInterrupt:
        write_summary(store, suite)
        print(f"stopped: what was done is in {arguments.out}, and the same command goes on")
        raise
    finally:
        store.close()
    if left:
        print(f"the time is up: {left} of {len(wanted.cells)} cells are left for the same command")
    return write_summary(store, suite)


def _report_unprofiled(device: LiveDevice, policies: Sequence[Policy]) -> None:
    """A line for each model that policies know nothing of, where there are any that should."""
    from fico.bench.live_device import WITHOUT_PROFILES

    if any(policy.name not in WITHOUT_PROFILES for policy in policies):
        for model, reason in device.unprofiled.items():
            lines.report(f"{model} is served without a profile: {reason}")


def _check_numbers(arguments: argparse.Namespace) -> None:
    """UsageError for a number that is out of range, or for a device that does not know it."""
    from fico.runtime.errors import UsageError

    lowest = {"seed": 0, "requests": 1, "workers": 0, "rounds": 1, "budget_s": 0}
    for name, least in lowest.items():
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} {value} is out of range", "give a larger number")
    if arguments.timeline is not None and arguments.device == "sim":
        raise UsageError("the simulator has no --timeline", "use --device emulated or cuda")
    if arguments.budget_s is not None and arguments.device == "sim":
        raise UsageError("the simulator has no --budget-s", "stop it with Ctrl-C: it goes on later")


@contextmanager
def _progress() -> Iterator[Callable[[Step], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    what = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True))
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), what)
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        expand=True,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)

        def report(step: Step) -> None:
            bar.update(task, completed=step.done, total=step.total, description=step.what)

        yield report


def _show(summary: dict[str, Any]) -> None:
    from fico.report.bench import invalid_runs, policy_table, sentences, title, workload_table

    print(f"\n{title(summary)}\n")
    print_table(policy_table(summary))
    by_workload = workload_table(summary)
    if by_workload is not None:
        print()
        print_table(by_workload)
    print()
    for line in (*sentences(summary), *invalid_runs(summary)):
        print_wrapped(line)
