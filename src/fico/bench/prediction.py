"""How models do together on one GPU: runs of a device, and the quotas that suit them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fico.bench import arrivals
from fico.bench.device import Device, Job, Load
from fico.bench.metrics import TenantMetrics, tenant_metrics
from fico.bench.plan_file import Demand, Objective
from fico.bench.policy import Policy
from fico.bench.validity import is_overloaded

_REQUESTS = 300
_MOST_REQUESTS = 20_000
_MOST_TRIES = 24
OVERLOADED = float("inf")


@dataclass(frozen=True, slots=True)
class Served:
    """One model of a group, as predicted."""

    metrics: TenantMetrics
    units: int
    """Of its quota; 0 where there are no quotas."""
    strain: float
    """Predicted latency over its limit, of the objective that is nearest; infinite if the requests
    come faster than they are served. At most 1 is good."""
    objective: Objective
    """The one that is nearest."""


@dataclass(frozen=True, slots=True)
class Group:
    """Models together on one GPU, as predicted, in the order they were asked for."""

    served: tuple[Served, ...]

    @property
    def strain(self) -> float:
        """Of the model that is worst off."""
        return max(one.strain for one in self.served)

    @property
    def worst(self) -> int:
        """Which model that is."""
        return max(range(len(self.served)), key=lambda index: self.served[index].strain)

    @property
    def fits(self) -> bool:
        """Whether every objective is met."""
        return self.strain <= 1


def predict(
    demands: Sequence[Demand],
    units: Sequence[int],
    policy: str,
    device: Device,
    unit_count: int,
    seed: int,
) -> Group:
    """Run models together; units 0 are no quotas. The same arrivals for all policies and quotas."""
    rates = [demand.rate_rps for demand in demands]
    window_us = min(_REQUESTS / min(rates), max(_MOST_REQUESTS / sum(rates), 1 / min(rates))) * 1e6
    loads = []
    for demand, own in zip(demands, units, strict=True):
        rng = np.random.default_rng([seed, *demand.name.encode()])
        times = arrivals.poisson(demand.rate_rps / 1e6, window_us, rng)
        quota_pct = own / unit_count * 100 if own else 100 / len(demands)
        loads.append(Load(demand.name, quota_pct, times if len(times) else np.zeros(1)))
    outcome = device.run(Job(tuple(loads), Policy(policy), window_us, seed))
    served = []
    for demand, own, one in zip(demands, units, outcome.tenants, strict=True):
        metrics = tenant_metrics(one, window_us)
        strains = [
            (getattr(metrics, f"{objective.figure}_ms") / objective.limit_ms, objective)
            for objective in demand.objectives
        ]
        strain, nearest = max(strains, key=lambda pair: pair[0])
        if outcome.problems or is_overloaded(one, window_us):
            strain = OVERLOADED
        served.append(Served(metrics, own, strain, nearest))
    return Group(tuple(served))


def best_quotas(
    demands: Sequence[Demand], policy: str, device: Device, unit_count: int, seed: int
) -> Group:
    """The group under the first quotas that meet all objectives, else under the best ones found.

    Quotas begin in proportion to the models' loads. If a limit is missed, units move to the model
    that is worst off, from the quotas that were best so far, each other model giving one. Not where
    the first quotas leave requests behind, since others only move the lack; nor where a model is
    over its limit even with all units but one of each other.
    """
    work = [demand.rate_rps * device.alone_us(demand.name) for demand in demands]
    start = in_proportion(work, unit_count)
    known: dict[tuple[int, ...], Group] = {}

    def group(units: tuple[int, ...]) -> Group:
        if units not in known:
            known[units] = predict(demands, units, policy, device, unit_count, seed)
        return known[units]

    if group(start).fits or group(start).strain == OVERLOADED:
        return group(start)
    worst = group(start).worst
    most = tuple(
        unit_count - len(demands) + 1 if index == worst else 1 for index in range(len(demands))
    )
    if group(most).served[worst].strain > 1:
        return group(start)
    queue, seen = [(group(start).strain, start)], {start}
    while queue and len(known) < _MOST_TRIES:
        _, units = heapq.heappop(queue)
        for moved in _moves(units, group(units)):
            if moved in seen:
                continue
            seen.add(moved)
            heapq.heappush(queue, (group(moved).strain, moved))
            if group(moved).fits:
                return group(moved)
    return min(known.values(), key=lambda tried: tried.strain)


def in_proportion(weights: Sequence[float], unit_count: int) -> tuple[int, ...]:
    """All units, shared out by weight (largest remainder), at least one each."""
    spare = unit_count - len(weights)
    shares = [weight / sum(weights) * spare for weight in weights]
    units = [int(share) for share in shares]
    order = sorted(range(len(weights)), key=lambda i: (units[i] - shares[i], i))
    for index in order[: spare - sum(units)]:
        units[index] += 1
    return tuple(count + 1 for count in units)


def _moves(units: tuple[int, ...], group: Group) -> Iterator[tuple[int, ...]]:
    """A unit to the one that is worst off from each other, those with most to spare first."""
    for giver in sorted(range(len(units)), key=lambda i: (group.served[i].strain, i)):
        if giver != group.worst and units[giver] > 1:
            moved = list(units)
            moved[giver] -= 1
            moved[group.worst] += 1
            yield tuple(moved)
