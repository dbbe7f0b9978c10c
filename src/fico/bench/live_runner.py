"""Runs a suite with real processes: cell after cell, its policies in turn, round by round.

Cells with the fewest tenants come first, so that servers are only ever added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fico.bench.cell import Cell
from fico.bench.jobs import capacity_job, capacity_rps, measuring_job
from fico.bench.live_device import LiveDevice
from fico.bench.policy import Policy
from fico.bench.rounds import in_rounds, joined
from fico.bench.runner import Step
from fico.bench.store import Run, Store, save_run
from fico.bench.suites import Suite

_ROUND_S = 0.2
"""What a round takes beside its window: orders, a few requests to warm up, answers."""
_MARGIN = 1.3
"""Requests that are left at a window's end take longer than it."""


def run_live(
    suite: Suite,
    policies: Sequence[Policy],
    device: LiveDevice,
    store: Store,
    budget_s: float | None = None,
    report: Callable[[Step], None] | None = None,
) -> int:
    """Run what is missing of a suite; gives how many cells the time did not last for.

    All policies of a cell that are missing take turns, on the same arrivals; they are in the folder
    when the cell has ended. No cell begins that would end more than `budget_s` from now. FicoError
    from the device ends the suite; so does KeyboardInterrupt, at once.
    """
    deadline = time.monotonic() + budget_s if budget_s is not None else float("inf")
    todo = [
        (cell, missing)
        for cell in sorted(suite.cells, key=lambda cell: len(cell.tenants))
        if (missing := [p for p in policies if not store.path(cell, p).exists()])
    ]
    total = len(suite.cells) * len(policies)
    done = total - sum(len(missing) for _, missing in todo)
    most = 0

    def say(what: str) -> None:
        if report is not None:
            report(Step(done, total, what))

    say("starting")
    for number, (cell, missing) in enumerate(todo):
        starting_s = device.start_s if len(cell.tenants) > most else 0.0
        starting_s *= len({"mps", *(policy.name for policy in missing)} - {"static"})
        if time.monotonic() + starting_s > deadline:
            return len(todo) - number
        most = max(most, len(cell.tenants))
        rates_rps = store.capacity(cell)
        if rates_rps is None:
            say(f"capacity for {' and '.join(map(str, cell.models))}")
            job = capacity_job(cell, device)
            rates_rps = capacity_rps(cell, job, device.run(job))
            store.add_capacity(cell, rates_rps)
        if (
            time.monotonic() + starting_s + _about_s(cell, missing, rates_rps, device, store)
            > deadline
        ):
            return len(todo) - number
        say(cell.name)
        _measure(cell, missing, rates_rps, device, store)
        done += len(missing)
        say(cell.name)
    return 0


def _measure(
    cell: Cell,
    policies: Sequence[Policy],
    rates_rps: Sequence[float],
    device: LiveDevice,
    store: Store,
) -> None:
    header = store.header
    jobs = [measuring_job(cell, p, rates_rps, header.requests, header.seed) for p in policies]
    parts = [in_rounds(job, header.rounds) for job in jobs]
    outcomes = [[device.run(part) for part in turn] for turn in zip(*parts, strict=True)]
    for policy, job, own in zip(policies, jobs, zip(*outcomes, strict=True), strict=True):
        save_run(store.path(cell, policy), Run(cell, policy, job.window_us, joined(job, own)))


def _about_s(
    cell: Cell,
    policies: Sequence[Policy],
    rates_rps: Sequence[float],
    device: LiveDevice,
    store: Store,
) -> float:
    """How long a cell is going to take."""
    header = store.header
    job = measuring_job(cell, policies[0], rates_rps, header.requests, header.seed)
    each_s = device.real_s(job.window_us) * _MARGIN + header.rounds * _ROUND_S
    return len(policies) * each_s
