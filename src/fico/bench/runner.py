"""Runs a suite: what is missing in a folder, in several processes where the device allows it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fico.bench.cell import Cell
from fico.bench.device import Device
from fico.bench.jobs import capacity_job, capacity_rps, measuring_job
from fico.bench.policy import Policy
from fico.bench.rounds import run_in_rounds
from fico.bench.store import Header, Run, Store, save_run
from fico.bench.suites import Suite
from fico.bench.workers import Workers


@dataclass(frozen=True, slots=True)
class Step:
    """How far a suite is."""

    done: int
    total: int
    what: str
    """What has just ended; empty at the start."""


def run_suite(
    suite: Suite,
    policies: Sequence[Policy],
    device: Device,
    store: Store,
    workers: int = 0,
    report: Callable[[Step], None] | None = None,
) -> None:
    """Run what is missing of a suite; every run is in the folder as soon as it has ended.

    All policies of a cell follow each other, on the same arrivals. No workers: as many as the
    machine has cores and the device allows. FicoError from the device ends the suite; so does
    KeyboardInterrupt, once the runs under way have ended.
    """
    for model in suite.models:
        device.alone_us(model)
    cores = len(os.sched_getaffinity(0))
    workers = min(workers or cores, device.most_workers)
    todo = [
        (cell, policy)
        for cell in suite.cells
        for policy in policies
        if not store.path(cell, policy).exists()
    ]
    strangers = {cell.models: cell for cell, _ in todo if store.capacity(cell) is None}
    total = len(strangers) + len(suite.cells) * len(policies)
    done = len(suite.cells) * len(policies) - len(todo)

    def say(what: str, count: int = 1) -> None:
        nonlocal done
        done += count
        if report is not None:
            report(Step(done, total, what))

    say("", 0)

    processes = Workers(min(workers, max(1, len(todo))))
    try:
        for cell, rates_rps in processes.map(partial(_find_capacity, device), strangers.values()):
            store.add_capacity(cell, rates_rps)
            say(f"capacity for {' and '.join(map(str, cell.models))}")
        tasks = [
            (cell, policy, store.capacity(cell), store.path(cell, policy)) for cell, policy in todo
        ]
        for what in processes.map(partial(_measure, device, store.header), tasks):
            say(what)
    finally:
        processes.close()


def _find_capacity(device: Device, cell: Cell) -> tuple[Cell, list[float]]:
    job = capacity_job(cell, device)
    return cell, capacity_rps(cell, job, device.run(job))


def _measure(
    device: Device, header: Header, task: tuple[Cell, Policy, list[float] | None, Path]
) -> str:
    cell, policy, rates_rps, path = task
    assert rates_rps is not None
    job = measuring_job(cell, policy, rates_rps, header.requests, header.seed)
    outcome = run_in_rounds(device, job, header.rounds)
    save_run(path, Run(cell, policy, job.window_us, outcome))
    return f"{policy}: {cell.name}"
