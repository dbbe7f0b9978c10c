"""By how much the promise is kept or missed: each tenant against itself under `static`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fico.bench.cell import Cell
from fico.bench.metrics import TenantMetrics, promise_kept, tenant_metrics
from fico.bench.policy import YARDSTICK
from fico.bench.store import Run
from fico.bench.validity import reasons_against

Row = dict[str, Any]


def promise_rows(runs: Sequence[Run]) -> list[Row]:
    """A row for each policy: how many cells kept the promise, and the worst tenants of all.

    Over the cells of several tenants whose runs are valid under the policy and under `static`.
    """
    metrics: dict[str, dict[Cell, list[TenantMetrics]]] = {}
    for run in runs:
        if len(run.cell.tenants) > 1 and not reasons_against(run.cell, run.outcome):
            metrics.setdefault(str(run.policy), {})[run.cell] = [
                tenant_metrics(served, run.window_us) for served in run.outcome.tenants
            ]
    static = metrics.get(YARDSTICK, {})
    found = []
    for policy, cells in metrics.items():
        both = [(cell, ours, static[cell]) for cell, ours in cells.items() if cell in static]
        if policy == YARDSTICK or not both:
            continue
        means = _ratios(both, "mean_ms")
        p99s = _ratios(both, "p99_ms")
        kept = sum(promise_kept(ours, theirs) for _, ours, theirs in both)
        found.append(
            {
                "policy": policy,
                "cells": len(both),
                "kept": kept,
                "worst_mean_ratio": means[0][0],
                "worst_mean_in": means[0][1],
                "worst_p99_ratio": p99s[0][0],
                "worst_p99_in": p99s[0][1],
            }
        )
    return found


def _ratios(
    both: Sequence[tuple[Cell, Sequence[TenantMetrics], Sequence[TenantMetrics]]], figure: str
) -> list[tuple[float, str]]:
    """Of all tenants, the worst first: its figure over that under `static`, and which it is."""
    found = [
        (getattr(mine, figure) / getattr(other, figure), f"{cell.name}: {tenant.model}")
        for cell, ours, theirs in both
        for tenant, mine, other in zip(cell.tenants, ours, theirs, strict=True)
    ]
    return sorted(found, reverse=True)
