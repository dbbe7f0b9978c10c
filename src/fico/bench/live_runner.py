"""Runs a suite with real processes: cell after cell, its policies in turn, round by round.

Cells with the fewest tenants come first, so that servers are only ever added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fico.bench.cell import Cell
from fico.bench.device import Job, Load, Outcome
from fico.bench.jobs import capacity_job, capacity_rps, measuring_job
from fico.bench.live_device import LiveDevice
from fico.bench.marks import Mark, add_mark
from fico.bench.policy import CAPACITY, Policy
from fico.bench.rounds import in_rounds, joined
from fico.bench.runner import Step
from fico.bench.server_pool import tenant_name
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

    def say(what: str) -> None:
        if report is not None:
            report(Step(done, total, what))

    for number, (cell, missing) in enumerate(todo):
        needed = _empty_jobs(cell, [Policy(CAPACITY), *missing])
        if time.monotonic() + device.starting_s(needed) > deadline:
            return len(todo) - number
        say(f"servers for {cell.name}")
        device.prepare(needed)
        rates_rps = store.capacity(cell)
        if rates_rps is None:
            say(f"capacity for {' and '.join(map(str, cell.models))}")
            job = capacity_job(cell, device)
            if time.monotonic() + _about_s([job], device, 1) > deadline:
                return len(todo) - number
            rates_rps = capacity_rps(cell, job, device.run(job))
            store.add_capacity(cell, rates_rps)
        jobs = _jobs(cell, missing, rates_rps, store)
        if time.monotonic() + _about_s(jobs, device, store.header.rounds) > deadline:
            return len(todo) - number
        say(cell.name)
        _measure(cell, jobs, device, store)
        done += len(missing)
        say(cell.name)
    return 0


def _empty_jobs(cell: Cell, policies: Sequence[Policy]) -> list[Job]:
    """Jobs that need the same servers as those of the cell."""
    tenants = tuple(Load(str(tenant.model), tenant.quota_pct, None) for tenant in cell.tenants)
    return [Job(tenants, policy, 0.0, 0) for policy in policies]


def _jobs(
    cell: Cell, policies: Sequence[Policy], rates_rps: Sequence[float], store: Store
) -> list[Job]:
    requests, seed = store.header.requests, store.header.seed
    return [measuring_job(cell, policy, rates_rps, requests, seed) for policy in policies]


def _measure(cell: Cell, jobs: Sequence[Job], device: LiveDevice, store: Store) -> None:
    parts = [in_rounds(job, store.header.rounds) for job in jobs]
    turns = [
        [_run(cell, part, number, device) for part in turn]
        for number, turn in enumerate(zip(*parts, strict=True), 1)
    ]
    for job, outcomes in zip(jobs, zip(*turns, strict=True), strict=True):
        run = Run(cell, job.policy, job.window_us, joined(job, outcomes))
        save_run(store.path(cell, job.policy), run)


def _run(cell: Cell, job: Job, number: int, device: LiveDevice) -> Outcome:
    """Run a round, and say when it was if its servers record what is decided."""
    outcome = device.run(job)
    if device.timeline is not None and outcome.span_ns is not None:
        begin_ns = outcome.span_ns[0]

        def ns(us: float) -> int:
            return begin_ns + round(device.real_s(us) * 1e9)

        models = {tenant_name(place): load.model for place, load in enumerate(job.tenants)}
        served = {
            tenant_name(place): [
                [ns(came_us), ns(end_us)]
                for came_us, end_us in zip(one.arrival_us, one.end_us, strict=True)
            ]
            for place, one in enumerate(outcome.tenants)
        }
        mark = Mark(cell.name, str(job.policy), number, models, *outcome.span_ns, served)
        add_mark(device.timeline, mark)
    return outcome


def _about_s(jobs: Sequence[Job], device: LiveDevice, rounds: int) -> float:
    """How long they are going to take."""
    return sum(
        device.real_s(job.window_us) * _MARGIN + rounds * (_ROUND_S + device.warm_up_s(job))
        for job in jobs
    )
