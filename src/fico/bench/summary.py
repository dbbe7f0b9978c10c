"""What a folder's runs say: figures per tenant and per cell, and the headline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from fico.bench.cell import Cell
from fico.bench.headline import headline
from fico.bench.metrics import TenantMetrics, cell_metrics, promise_kept, tenant_metrics
from fico.bench.policy import POLICIES, YARDSTICK
from fico.bench.store import (
    Run,
    Store,
    read_summary,
    read_tenants,
    write_json,
    write_parquet,
)
from fico.bench.suites import Suite
from fico.bench.validity import is_overloaded, reasons_against
from fico.runtime.errors import UsageError

_DIGITS = 6

Row = dict[str, Any]


def write_summary(store: Store, suite: Suite) -> Row:
    """Write `summary.json` and `tenants.parquet` of what was run so far; gives the summary.

    Both are the same, byte for byte, for the same runs.
    """
    cells: list[Row] = []
    tenants: list[Row] = []
    for cell in suite.cells:
        runs = sorted(store.runs((cell,)), key=_order)
        figures = [_figures(run) for run in runs]
        static = next(
            (
                theirs
                for run, theirs in zip(runs, figures, strict=True)
                if str(run.policy) == YARDSTICK and not reasons_against(cell, run.outcome)
            ),
            None,
        )
        for run, mine in zip(runs, figures, strict=True):
            cells.append(_cell_row(run, mine, static))
            tenants += _tenant_rows(run, mine)
    return _write(store, cells, tenants)


def join_summaries(store: Store, suite: Suite, folders: Sequence[Path]) -> Row:
    """Put parts of a suite together: their summaries, and what runs they have; gives the summary.

    Parts may have left the runs of some policies away once they had a summary. UsageError if parts
    do not belong together, or for one whose summary lacks a run that it has.
    """
    cells: list[Row] = []
    tenants: list[Row] = []
    place = {cell.name: index for index, cell in enumerate(suite.cells)}
    part_of: dict[str, Path] = {}
    for folder in folders:
        rows = read_summary(folder)["cells"]
        for name in dict.fromkeys(row["cell"] for row in rows):
            if name not in place:
                raise UsageError(
                    f"{folder} has cell {name}, which {suite.name} has not", "run that part anew"
                )
            if name in part_of:
                raise UsageError(
                    f"{folder} has cell {name}, which {part_of[name]} has too",
                    "leave one of them out: all policies of a cell are measured together",
                )
            part_of[name] = folder
        store.take_runs(folder)
        cells += rows
        tenants += read_tenants(folder)
    known = {(row["cell"], row["policy"]) for row in cells}
    for run in store.runs(suite.cells):
        if (run.cell.name, str(run.policy)) not in known:
            raise UsageError(
                f"the summaries lack {run.cell.name} under {run.policy}, which was run",
                "run that part again: it goes on, and writes its summary",
            )
    cells.sort(key=lambda row: place[row["cell"]])
    tenants.sort(key=lambda row: place[row["cell"]])
    return _write(store, cells, tenants)


def _write(store: Store, cells: list[Row], tenants: list[Row]) -> Row:
    header = store.header
    summary = {
        "device": header.device,
        "gpu": header.gpu,
        "suite": header.suite,
        "seed": header.seed,
        "rounds": header.rounds,
        "version": header.version,
        "cells": cells,
        "headline": headline(cells),
    }
    write_parquet(store.folder / "tenants.parquet", pa.Table.from_pylist(tenants))
    write_json(store.folder / "summary.json", summary, one_per_line="cells")
    return summary


def _order(run: Run) -> tuple[int, str]:
    return list(POLICIES).index(run.policy.name), str(run.policy)


def _figures(run: Run) -> list[TenantMetrics]:
    return [tenant_metrics(served, run.window_us) for served in run.outcome.tenants]


def _cell_row(
    run: Run, tenants: Sequence[TenantMetrics], static: Sequence[TenantMetrics] | None
) -> Row:
    reasons = reasons_against(run.cell, run.outcome)
    kept = None
    if static is not None and not any(math.isnan(tenant.mean_ms) for tenant in tenants):
        kept = promise_kept(tenants, static)
    figures = cell_metrics(tenants)
    clocks, counters = run.outcome.clocks_mhz, run.outcome.counters
    return _facts(run.cell) | {
        "policy": str(run.policy),
        "mean_ms": _rounded(figures.mean_ms),
        "p50_ms": _rounded(figures.p50_ms),
        "p95_ms": _rounded(figures.p95_ms),
        "p99_ms": _rounded(figures.p99_ms),
        "throughput_rps": _rounded(figures.throughput_rps),
        "promise_kept": kept,
        "requests": figures.requests,
        "valid": not reasons,
        "invalid_because": reasons,
        "overloaded": _overloaded(run),
        **({"clocks_mhz": list(clocks)} if clocks is not None else {}),
        **({"counters": dict(counters)} if counters else {}),
    }


def _facts(cell: Cell) -> Row:
    return {
        "cell": cell.name,
        "models": [model.name for model in cell.models],
        "batch": [model.batch for model in cell.models],
        "mode": [model.mode for model in cell.models],
        "n": len(cell.tenants),
        "workload": cell.workload,
        "quotas": [_rounded(tenant.quota_pct) for tenant in cell.tenants],
    }


def _overloaded(run: Run) -> bool:
    return any(
        tenant.workload != "closed" and is_overloaded(served, run.window_us)
        for tenant, served in zip(run.cell.tenants, run.outcome.tenants, strict=True)
    )


def _tenant_rows(run: Run, tenants: Sequence[TenantMetrics]) -> list[Row]:
    return [
        {
            "cell": run.cell.name,
            "policy": str(run.policy),
            "tenant": number,
            "model": str(tenant.model),
            "workload": tenant.workload,
            "quota_pct": tenant.quota_pct,
            **asdict(metrics),
        }
        for number, (tenant, metrics) in enumerate(zip(run.cell.tenants, tenants, strict=True))
    ]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _DIGITS)
