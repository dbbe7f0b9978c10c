"""Whether a run counts, and why not."""

from __future__ import annotations

from statistics import mean

import numpy as np
from numpy.typing import NDArray

from fico.bench.cell import Cell
from fico.bench.device import Outcome, Served

FEWEST_REQUESTS = 30
"""Of each tenant; fewer say nothing of a p99, and little of a mean."""
MOST_DRIFT = 0.10
"""Of the latency in closed loop, from the first third of the requests to the last; the mean
of the tenants', since what one gains from another is the policy's doing and not the device's."""

LOWEST_CLOCK = 0.9
"""Of the highest clock meanwhile."""

_FEWEST_FOR_DRIFT = 90


def reasons_against(cell: Cell, outcome: Outcome) -> list[str]:
    """Why a run is not valid, a line each; none if it is."""
    reasons = list(outcome.problems)
    for number, (tenant, served) in enumerate(zip(cell.tenants, outcome.tenants, strict=True), 1):
        count = len(served.end_us)
        if count < FEWEST_REQUESTS:
            reasons.append(
                f"tenant {number} ({tenant.model}) has {count} requests, "
                f"fewer than {FEWEST_REQUESTS}"
            )
    drifts = [
        drift(served)
        for tenant, served in zip(cell.tenants, outcome.tenants, strict=True)
        if tenant.workload == "closed"
    ]
    if drifts and abs(mean(drifts)) > MOST_DRIFT:
        reasons.append(f"latencies drift by {mean(drifts):+.0%} within the run")
    if outcome.clocks_mhz is not None:
        low, high = outcome.clocks_mhz
        if low < LOWEST_CLOCK * high:
            reasons.append(f"the clock of the SMs was between {low} and {high} MHz")
    return reasons


def drift(served: Served) -> float:
    """Relative change of the latency from the first third of the requests to the last.

    Of the mean of the middle half: a median flips where there are as many long as short ones, as in
    turns, and a mean follows single stalls. 0 where there are too few to tell. For closed loops:
    under arrivals queues come and go.
    """
    latencies = served.end_us - served.arrival_us
    third = len(latencies) // 3
    if len(latencies) < _FEWEST_FOR_DRIFT:
        return 0.0
    return _middle(latencies[-third:]) / _middle(latencies[:third]) - 1


def _middle(latencies: NDArray[np.float64]) -> float:
    quarter = len(latencies) // 4
    return float(np.sort(latencies)[quarter : len(latencies) - quarter].mean())


def is_overloaded(served: Served, window_us: float) -> bool:
    """Whether more than a tenth of the requests had not ended when the last could come.

    Then the policy does not keep up with the arrivals, and its latencies grow with the window.
    """
    waiting = int((served.end_us >= window_us).sum())
    return waiting > max(5, len(served.end_us) / 10)
