"""Figures of a run: per tenant and per cell, and whether the promise was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fico.bench.device import Served

MEAN_MARGIN = 1.02
P99_MARGIN = 1.10
"""The promise: a tenant's mean and p99 at most this many times those under `static`."""


@dataclass(frozen=True, slots=True)
class TenantMetrics:
    """Latency counts from the arrival (closed loop: from issue) to the end."""

    requests: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    throughput_rps: float
    """Requests that ended within the window, per second of it."""
    sm_s: float | None
    """SM-time in seconds: how long its kernels had SMs, times their number; None if not known."""


@dataclass(frozen=True, slots=True)
class CellMetrics:
    """Every tenant counts the same: latencies are means of the tenants' figures; rates are sums."""

    requests: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    throughput_rps: float


def tenant_metrics(served: Served, window_us: float) -> TenantMetrics:
    """Figures of one tenant; latencies are NaN without a request. Percentiles are interpolated."""
    latencies_ms = (served.end_us - served.arrival_us) / 1e3
    if not len(latencies_ms):
        latencies_ms = np.array([np.nan])
    p50_ms, p95_ms, p99_ms = (float(p) for p in np.percentile(latencies_ms, (50, 95, 99)))
    return TenantMetrics(
        requests=len(served.end_us),
        mean_ms=float(latencies_ms.mean()),
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        throughput_rps=float((served.end_us < window_us).sum() / window_us * 1e6),
        sm_s=None if served.sm_us is None else served.sm_us / 1e6,
    )


def cell_metrics(tenants: Sequence[TenantMetrics]) -> CellMetrics:
    """Figures of a cell from those of its tenants."""

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return CellMetrics(
        requests=sum(tenant.requests for tenant in tenants),
        mean_ms=mean([tenant.mean_ms for tenant in tenants]),
        p50_ms=mean([tenant.p50_ms for tenant in tenants]),
        p95_ms=mean([tenant.p95_ms for tenant in tenants]),
        p99_ms=mean([tenant.p99_ms for tenant in tenants]),
        throughput_rps=sum(tenant.throughput_rps for tenant in tenants),
    )


def promise_kept(tenants: Sequence[TenantMetrics], static: Sequence[TenantMetrics]) -> bool:
    """Whether no tenant is worse off than under `static` on the same arrivals."""
    return all(
        ours.mean_ms <= MEAN_MARGIN * theirs.mean_ms and ours.p99_ms <= P99_MARGIN * theirs.p99_ms
        for ours, theirs in zip(tenants, static, strict=True)
    )
