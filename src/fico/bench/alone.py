"""What a tenant would have without the others: the yardstick for what sharing costs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fico.bench.arrivals import Times
from fico.bench.cell import Model
from fico.bench.policy import CAPACITY
from fico.bench.store import Run
from fico.bench.validity import reasons_against


@dataclass(frozen=True, slots=True)
class Alone:
    """A model that had the GPU to itself, in closed loop."""

    service_us: Times
    """How long each of its requests took, in order."""

    @property
    def mean_us(self) -> float:
        """Mean time of a request."""
        return float(self.service_us.mean())

    @property
    def p99_us(self) -> float:
        """99th percentile of the time of a request."""
        return float(np.percentile(self.service_us, 99))


def alone_by_model(runs: Iterable[Run]) -> dict[Model, Alone]:
    """The models that were run alone in closed loop under `mps`, where nothing holds them up."""
    return {
        run.cell.models[0]: Alone(run.outcome.tenants[0].end_us - run.outcome.tenants[0].arrival_us)
        for run in runs
        if len(run.cell.tenants) == 1
        and run.cell.workload == "closed"
        and str(run.policy) == CAPACITY
        and not reasons_against(run.cell, run.outcome)
    }


def latencies_us(arrival_us: Times, service_us: Times, round_us: float) -> Times:
    """Latencies of requests that are served one after another, with nobody else on the GPU.

    Waiting times by Lindley's recursion, W' = max(0, W + S - A), with S the time of the request
    before and A the gap to it (Lindley, "The theory of queues with a single server", Mathematical
    Proceedings of the Cambridge Philosophical Society 1952). `service_us` are measured times in
    their order, from the start again where they do not last. Arrivals are sorted; each round begins
    with nothing under way.
    """
    service = np.resize(service_us, len(arrival_us))
    round_of = np.floor(arrival_us / round_us)
    latencies = np.empty(len(arrival_us))
    for number, arrival in enumerate(arrival_us):
        wait_us = 0.0
        if number > 0 and round_of[number] == round_of[number - 1]:
            wait_us = max(0.0, latencies[number - 1] - (arrival - arrival_us[number - 1]))
        latencies[number] = wait_us + service[number]
    return latencies
