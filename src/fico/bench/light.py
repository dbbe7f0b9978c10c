"""What a light tenant beside a heavy one has of a policy, and what that costs the heavy one.

The first tenant of a cell of two is the light one, the second, in closed loop, the heavy one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fico.bench.alone import Alone, alone_by_model, latencies_us
from fico.bench.cell import Cell, Model
from fico.bench.device import Served
from fico.bench.policy import CAPACITY
from fico.bench.store import Run
from fico.bench.validity import reasons_against

WORKLOADS = ("closed", "medium+closed")
MOST_P99 = {"closed": 1.5, "medium+closed": 1.3}
"""Goal: the light tenant's p99 over its p99 alone, by the cell's workload."""
LEAST_OVER_MPS = 0.10
"""Goal in closed loop: the sum of both rates relative to alone, less that under `mps`."""
LEAST_OF_REST = 0.9
"""Goal where the light one's requests arrive: the heavy one's rate, of what it could have of the
time that the light one leaves."""

Row = dict[str, Any]


def light_rows(runs: Sequence[Run], alone: Mapping[Model, Alone], rounds: int) -> list[Row]:
    """A row a run of a light and a heavy model; `rounds`: in which each was run.

    Figures are None where what they compare was not run or is not valid.
    """
    pairs = [run for run in runs if is_light_cell(run.cell)]
    sums = {
        run.cell: _rates_sum(run, alone)
        for run in pairs
        if str(run.policy) == CAPACITY and not reasons_against(run.cell, run.outcome)
    }
    return [_row(run, alone, sums.get(run.cell), rounds) for run in pairs]


def is_light_cell(cell: Cell) -> bool:
    """Whether it is of two different models, the second in closed loop."""
    return len(set(cell.models)) == 2 == len(cell.tenants) and cell.workload in WORKLOADS


def goals_met(rows: Sequence[Row]) -> list[Row]:
    """How many cells meet each goal: a row for each policy and workload. Valid runs only."""
    found = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        for workload in WORKLOADS:
            mine = [row for row in rows if (row["policy"], row["workload"]) == (policy, workload)]
            valid = [row for row in mine if row["valid"]]
            if not mine:
                continue
            ratios = [row["light_p99_ratio"] for row in valid if row["light_p99_ratio"] is not None]
            found.append(
                {
                    "policy": policy,
                    "workload": workload,
                    "cells": len(mine),
                    "valid": len(valid),
                    "light_p99_met": sum(row["light_p99_met"] is True for row in valid),
                    "rate_met": sum(row["rate_met"] is True for row in valid),
                    "both_met": sum(
                        row["light_p99_met"] is True and row["rate_met"] is True for row in valid
                    ),
                    "median_p99_ratio": float(np.median(ratios)) if ratios else None,
                    "worst_p99_ratio": max(ratios, default=None),
                }
            )
    return found


def _row(run: Run, alone: Mapping[Model, Alone], mps_sum: float | None, rounds: int) -> Row:
    cell = run.cell
    light_model, heavy_model = cell.models
    light, heavy = run.outcome.tenants
    row: Row = {
        "models": [model.name for model in cell.models],
        "batch": [model.batch for model in cell.models],
        "mode": [model.mode for model in cell.models],
        "quotas": [tenant.quota_pct for tenant in cell.tenants],
        "workload": cell.workload,
        "policy": str(run.policy),
        "valid": not reasons_against(cell, run.outcome),
        "light_p99_ms": _p99_us(light) / 1e3 if len(light.end_us) else None,
        "light_alone_p99_ms": None,
        "light_p99_ratio": None,
        "light_p99_met": None,
        "rates_sum": None,
        "rates_over_mps": None,
        "heavy_of_rest": None,
        "rate_met": None,
    }
    if light_model not in alone or not len(light.end_us):
        return row
    if cell.workload == "closed":
        alone_p99_us = alone[light_model].p99_us
        total = _rates_sum(run, alone)
        over = None if total is None or mps_sum is None else total - mps_sum
        row |= {"rates_sum": total, "rates_over_mps": over}
        row["rate_met"] = None if over is None else over >= LEAST_OVER_MPS
    else:
        service_us = alone[light_model].service_us
        alone_us = latencies_us(light.arrival_us, service_us, run.window_us / rounds)
        alone_p99_us = float(np.percentile(alone_us, 99))
        if heavy_model in alone:
            left = 1 - len(light.end_us) / run.window_us * alone[light_model].mean_us
            row["heavy_of_rest"] = _rate_of_alone(heavy, alone[heavy_model]) / left
            row["rate_met"] = row["heavy_of_rest"] >= LEAST_OF_REST
    ratio = _p99_us(light) / alone_p99_us
    return row | {
        "light_alone_p99_ms": alone_p99_us / 1e3,
        "light_p99_ratio": ratio,
        "light_p99_met": ratio <= MOST_P99[cell.workload],
    }


def _rates_sum(run: Run, alone: Mapping[Model, Alone]) -> float | None:
    """Both rates of a closed loop, each relative to the model's alone."""
    if not set(run.cell.models) <= alone.keys():
        return None
    pairs = zip(run.outcome.tenants, run.cell.models, strict=True)
    return sum(_rate_of_alone(served, alone[model]) for served, model in pairs)


def _rate_of_alone(served: Served, alone: Alone) -> float:
    """Of a closed loop: with one request always under way, a rate is 1 over the mean latency."""
    if not len(served.end_us):
        return 0.0
    return alone.mean_us / float((served.end_us - served.arrival_us).mean())


def _p99_us(served: Served) -> float:
    return float(np.percentile(served.end_us - served.arrival_us, 99))


def light_figures(
    runs: Sequence[Run], alone_runs: Sequence[Run], rounds: int
) -> tuple[list[Row], list[Row]]:
    """The rows, and how many cells meet each goal."""
    rows = light_rows(runs, alone_by_model(alone_runs), rounds)
    return rows, goals_met(rows)
