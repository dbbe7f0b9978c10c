"""From a cell to the run that measures it: windows and arrivals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from fico.bench.cell import Cell
from fico.bench.device import Device, Job, Load, Outcome
from fico.bench.policy import CAPACITY, Policy
from fico.bench.workload import arrival_times, load_of
from fico.runtime.errors import FicoError

_REQUESTS_FOR_CAPACITY = 100
_LEAST_CLOSED_US = 500_000.0


def capacity_job(cell: Cell, device: Device) -> Job:
    """The cell's tenants in closed loop under MPS, for long enough to know their rates.

    A request takes at most about as long as one of each tenant after another.
    """
    round_us = sum(device.alone_us(str(model)) for model in cell.models)
    return Job(
        tuple(Load(str(tenant.model), tenant.quota_pct, None) for tenant in cell.tenants),
        Policy(CAPACITY),
        _REQUESTS_FOR_CAPACITY * round_us,
        0,
    )


def capacity_rps(cell: Cell, job: Job, outcome: Outcome) -> list[float]:
    """Requests per second of each tenant. FicoError if one was not served at all."""
    rates = []
    for tenant, served in zip(cell.tenants, outcome.tenants, strict=True):
        ended = int((served.end_us < job.window_us).sum())
        if ended == 0:
            raise FicoError(
                f"{tenant.model} ends no request beside its neighbours in {cell.name}",
                "leave the cell out",
            )
        rates.append(ended / job.window_us * 1e6)
    return rates


def measuring_job(
    cell: Cell, policy: Policy, capacities_rps: Sequence[float], requests: int, seed: int
) -> Job:
    """The run of a cell under a policy.

    Windows and arrivals are the same for all policies; under other quotas arrivals begin the same.

    The window is the shortest in which each tenant is expected to have `requests` requests under
    MPS; in closed loop in proportion more, where its quota is less than an equal part. Where
    all are closed loops it is half a second at least: the first requests, before all are there, are
    not to be the p99, and that of a tenant alone is what many others are compared with.
    """
    rates_rps = []
    for tenant, capacity in zip(cell.tenants, capacities_rps, strict=True):
        load = load_of(tenant.workload)
        part = min(1.0, tenant.quota_pct / 100 * len(cell.tenants)) if load is None else load
        rates_rps.append(part * capacity)
    window_us = requests / min(rates_rps) * 1e6
    if all(load_of(tenant.workload) is None for tenant in cell.tenants):
        window_us = max(window_us, _LEAST_CLOSED_US)
    what = f"{'+'.join(map(str, cell.models))}_{cell.workload}"
    cell_seed = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8])
    tenants = []
    for number, (tenant, capacity) in enumerate(zip(cell.tenants, capacities_rps, strict=True)):
        rng = np.random.default_rng([seed, cell_seed, number])
        closed = load_of(tenant.workload) is None
        arrivals = None if closed else arrival_times(tenant.workload, capacity, window_us, rng)
        tenants.append(Load(str(tenant.model), tenant.quota_pct, arrivals))
    return Job(tuple(tenants), policy, window_us, (seed ^ cell_seed) & (2**63 - 1))
