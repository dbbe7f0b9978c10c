"""The headline of a suite: what the `fico` policy gains, from the rows of its cells.

Policies with settings of their own (`orion[small_percent=25]`) are left out: they are a sweep's.
Runs that are not valid count nowhere but in `invalid`, and those of a tenant alone not at all:
there all policies are to do the same. A figure is None where what it compares was
not run. Reductions are means over the cells of 1 - ours / theirs, in percent, so that every cell
counts the same, whatever its latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fico.bench.policy import AVERAGED, CAPACITY, OURS, POLICIES, RIVALS

MOST_OVER_PCT = 2.0
"""How far over `mps` a cell's mean may be."""

Row = Mapping[str, Any]
Cells = Mapping[str, Mapping[str, Row]]
"""The valid rows: by cell, then by policy."""


def headline(rows: Sequence[Row]) -> dict[str, Any]:
    """The headline of the rows of `summary.json`'s cells."""
    rows = [row for row in rows if row["policy"] in POLICIES and row["n"] > 1]
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        valid = cells.setdefault(row["cell"], {})
        if row["valid"]:
            valid[row["policy"]] = row
    dense = {name: cell for name, cell in cells.items() if _workload(cell) == "dense"}
    below = {rival: _reduction(cells, OURS, [rival]) for rival in RIVALS}
    known = {rival: value for rival, value in below.items() if value is not None}
    best = min(known, key=known.__getitem__) if known else None
    over = _over(cells)
    return {
        "cells": len(cells),
        "invalid": [f"{row['policy']}: {row['cell']}" for row in rows if not row["valid"]],
        "mean_below_average_pct": _reduction(cells, OURS, AVERAGED),
        "averaged": list(AVERAGED),
        "best_rival": best,
        "mean_below_best_rival_pct": below.get(best or ""),
        "mean_below_best_of_each_cell_pct": _below_best(cells),
        "cells_over_mps": len(over),
        "over_mps": [{"cell": name, "over_pct": pct} for name, pct in over],
        "promise_kept_pct": _promise(rows, OURS),
        "p99_below_mps_at_dense_pct": _reduction(dense, OURS, [CAPACITY], "p99_ms"),
        "policies": {
            policy: {
                "mean_ms": _mean(row["mean_ms"] for row in _of(cells, policy)),
                "p99_ms": _mean(row["p99_ms"] for row in _of(cells, policy)),
                "mean_below_mps_pct": _reduction(cells, policy, [CAPACITY]),
                "p99_below_mps_pct": _reduction(cells, policy, [CAPACITY], "p99_ms"),
                "promise_kept_pct": _promise(rows, policy),
                "overloaded": sum(row["overloaded"] for row in _of(cells, policy)),
                "valid": len(_of(cells, policy)),
            }
            for policy in POLICIES
            if any(row["policy"] == policy for row in rows)
        },
    }


def reduction_pct(ours: float, theirs: float) -> float:
    """How far ours is below theirs, in percent of theirs."""
    return (1 - ours / theirs) * 100


def _of(cells: Cells, policy: str) -> list[Row]:
    return [cell[policy] for cell in cells.values() if policy in cell]


def _workload(cell: Mapping[str, Row]) -> str | None:
    return next((row["workload"] for row in cell.values()), None)


def _reduction(
    cells: Cells, policy: str, others: Sequence[str], figure: str = "mean_ms"
) -> float | None:
    """How far a policy is below the average of others, over the cells that have all of them."""
    return _mean(
        reduction_pct(
            cell[policy][figure], sum(cell[other][figure] for other in others) / len(others)
        )
        for cell in cells.values()
        if {policy, *others} <= cell.keys()
    )


def _below_best(cells: Cells) -> float | None:
    """Against the rival that is best in each cell."""
    return _mean(
        reduction_pct(
            cell[OURS]["mean_ms"], min(cell[name]["mean_ms"] for name in RIVALS if name in cell)
        )
        for cell in cells.values()
        if OURS in cell and len(cell) > 1
    )


def _over(cells: Cells) -> list[tuple[str, float]]:
    """Cells whose mean is more than MOST_OVER_PCT over that of `mps`, the worst first."""
    over = [
        (name, round(-reduction_pct(cell[OURS]["mean_ms"], cell[CAPACITY]["mean_ms"]), 3))
        for name, cell in cells.items()
        if {OURS, CAPACITY} <= cell.keys()
    ]
    return sorted((entry for entry in over if entry[1] > MOST_OVER_PCT), key=lambda e: -e[1])


def _promise(rows: Iterable[Row], policy: str) -> float | None:
    return _mean(
        100.0 * row["promise_kept"]
        for row in rows
        if row["policy"] == policy and row["valid"] and row["promise_kept"] is not None
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else None
