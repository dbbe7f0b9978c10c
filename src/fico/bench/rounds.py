"""A run in rounds: its window cut into equal parts, each run by itself.

Policies take turns part by part, so that a machine that drifts does so for all of them. Each part
begins with nothing under way, so runs are compared only if they had as many rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fico.bench.device import Device, Job, Load, Outcome, Served


def in_rounds(job: Job, rounds: int) -> list[Job]:
    """The parts of a job, each with the arrivals that fall into it, from its own start."""
    window_us = job.window_us / rounds
    return [
        replace(
            job,
            tenants=tuple(_part(load, number * window_us, window_us) for load in job.tenants),
            window_us=window_us,
            seed=job.seed + number,
        )
        for number in range(rounds)
    ]


def _part(load: Load, start_us: float, window_us: float) -> Load:
    if load.arrivals_us is None:
        return load
    # As counted from the start, so that rounding puts no arrival into two parts or into none.
    of_part = np.floor(load.arrivals_us / window_us).astype(int) == round(start_us / window_us)
    return replace(load, arrivals_us=np.maximum(0.0, load.arrivals_us[of_part] - start_us))


def joined(job: Job, outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a job from those of its parts: each follows the one before."""
    window_us = job.window_us / len(outcomes)
    tenants = []
    for parts in zip(*(outcome.tenants for outcome in outcomes), strict=True):
        sm_us = [part.sm_us for part in parts if part.sm_us is not None]
        tenants.append(
            Served(
                np.concatenate([part.arrival_us + n * window_us for n, part in enumerate(parts)]),
                np.concatenate([part.end_us + n * window_us for n, part in enumerate(parts)]),
                sum(sm_us) if len(sm_us) == len(parts) else None,
            )
        )
    problems = dict.fromkeys(line for outcome in outcomes for line in outcome.problems)
    clocks = [outcome.clocks_mhz for outcome in outcomes if outcome.clocks_mhz is not None]
    counters: Counter[str] = Counter()
    for outcome in outcomes:
        counters.update(outcome.counters)
    return Outcome(
        tuple(tenants),
        tuple(problems),
        (min(low for low, _ in clocks), max(high for _, high in clocks)) if clocks else None,
        counters=dict(counters),
    )


def run_in_rounds(device: Device, job: Job, rounds: int) -> Outcome:
    """Run a job part after part."""
    if rounds == 1:
        return device.run(job)
    return joined(job, [device.run(part) for part in in_rounds(job, rounds)])
