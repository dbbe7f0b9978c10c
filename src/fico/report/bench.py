"""What came out of `fico bench`, for people: tables and sentences from `summary.json`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from fico.bench.fidelity import ALIKE_PCT, Difference, order_agrees
from fico.bench.headline import MOST_OVER_PCT, reduction_pct
from fico.bench.policy import CAPACITY

Summary = Mapping[str, Any]

_MOST_NAMED = 3


def title(summary: Summary) -> str:
    """Which results these are."""
    cells = summary["headline"]["cells"]
    return (
        f"{summary['suite']} on {summary['device']} ({summary['gpu']}), seed {summary['seed']}, "
        f"{cells} {'cell' if cells == 1 else 'cells'}"
    )


def policy_table(summary: Summary) -> Table:
    """A line a policy; latencies are means over the cells, of the mean over the tenants."""
    table = _table("policy", "mean ms", "p99 ms", "mean vs mps", "p99 vs mps", "promise kept")
    overloaded = any(row["overloaded"] for row in summary["headline"]["policies"].values())
    if overloaded:
        table.add_column("overloaded", justify="right", no_wrap=True)
    for policy, row in summary["headline"]["policies"].items():
        table.add_row(
            policy,
            _number(row["mean_ms"]),
            _number(row["p99_ms"]),
            _change(row["mean_below_mps_pct"]),
            _change(row["p99_below_mps_pct"]),
            "-" if row["promise_kept_pct"] is None else f"{row['promise_kept_pct']:.0f}%",
            *([str(row["overloaded"] or "-")] if overloaded else []),
        )
    return table


def workload_table(summary: Summary) -> Table | None:
    """Mean latency to that under `mps`, a line a policy and a column a workload; None without it.

    The workloads of traces are named after their files.
    """
    cells = [row for row in summary["cells"] if row["n"] > 1]
    rows = [row for row in cells if row["valid"]]
    mps = {row["cell"]: row["mean_ms"] for row in rows if row["policy"] == CAPACITY}
    policies = list(summary["headline"]["policies"])
    workloads = list(dict.fromkeys(row["workload"] for row in cells))
    if len(workloads) < 2 or not mps or len(policies) < 2:
        return None
    table = _table("mean vs mps", *(_short(workload) for workload in workloads))
    for policy in policies:
        if policy == CAPACITY:
            continue
        cells = []
        for workload in workloads:
            reductions = [
                reduction_pct(row["mean_ms"], mps[row["cell"]])
                for row in rows
                if row["policy"] == policy and row["workload"] == workload and row["cell"] in mps
            ]
            cells.append(_change(statistics.mean(reductions) if reductions else None))
        table.add_row(policy, *cells)
    return table


def sentences(summary: Summary) -> Iterator[str]:
    """The headline in words; only what is known."""
    head = summary["headline"]
    if head["mean_below_average_pct"] is not None:
        others = ", ".join(head["averaged"])
        yield f"fico: mean {_below(head['mean_below_average_pct'])} the average of {others}"
    if head["best_rival"] is not None:
        best, each = head["mean_below_best_rival_pct"], head["mean_below_best_of_each_cell_pct"]
        yield (
            f"fico: mean {_below(best)} {head['best_rival']}, the best rival; "
            f"{_below(each)} the best of each cell"
        )
    if head["p99_below_mps_at_dense_pct"] is not None:
        yield f"fico: p99 at load 0.8 {_below(head['p99_below_mps_at_dense_pct'])} mps"
    if {"fico", "mps"} <= head["policies"].keys():
        worst = "".join(
            f"\n  {over['cell']}: {over['over_pct']:+.1f}%"
            for over in head["over_mps"][:_MOST_NAMED]
        )
        count = head["cells_over_mps"]
        more = f"\n  and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
        yield f"fico: cells more than {MOST_OVER_PCT:g}% over mps: {count or 'none'}{worst}{more}"
    if head["promise_kept_pct"] is not None:
        yield f"fico: promise kept in {head['promise_kept_pct']:.4g}% of the cells"
    elif "fico" in head["policies"]:
        yield "fico: whether the promise was kept is not known: that takes valid runs of static"


def invalid_runs(summary: Summary) -> Iterator[str]:
    """The runs that do not count, with the reason; the first few."""
    rows = [row for row in summary["cells"] if not row["valid"]]
    if rows:
        yield f"{len(rows)} of {len(summary['cells'])} runs are not valid and count nowhere:"
    for row in rows[:_MOST_NAMED]:
        yield f"  {row['policy']}: {row['cell']}:\n    {row['invalid_because'][0]}"
    if len(rows) > _MOST_NAMED:
        yield f"  and {len(rows) - _MOST_NAMED} more (summary.json has all)"


def difference_table(found: list[Difference]) -> Table:
    """How far mean latencies of the first of two results are off, a line a policy."""
    table = _table("policy", "cells", "median error", "largest")
    table.add_column("in cell")
    by_policy: dict[str, list[Difference]] = {}
    for difference in found:
        by_policy.setdefault(difference.second["policy"], []).append(difference)
    for policy, mine in by_policy.items():
        largest = max(mine, key=lambda difference: abs(difference.error_pct))
        table.add_row(
            policy,
            str(len(mine)),
            f"{statistics.median(abs(difference.error_pct) for difference in mine):.1f}%",
            f"{largest.error_pct:+.1f}%",
            largest.second["cell"],
        )
    return table


def difference_sentences(found: list[Difference]) -> Iterator[str]:
    """The same in words, and whether the policies are in the same order."""
    errors = [abs(difference.error_pct) for difference in found]
    yield f"all: median error {statistics.median(errors):.1f}%, largest {max(errors):.1f}%"
    agrees = order_agrees(found)
    if agrees:
        right = sum(agrees.values())
        yield (
            f"policies in the same order (but for those within {ALIKE_PCT:g}%) in {right} of "
            f"{len(agrees)} cells"
        )


def sweep_table(summary: Summary, policy: str) -> Table:
    """All settings of a policy that were run, the best mean first. Means over the same cells."""
    table = _table("settings", "mean ms", "p99 ms", "mean vs mps", "valid cells")
    for row in sweep_rows(summary, policy):
        table.add_row(
            row["policy"],
            _number(row["mean_ms"]),
            _number(row["p99_ms"]),
            _change(row["mean_below_mps_pct"]),
            str(row["cells"]),
        )
    return table


def sweep_rows(summary: Summary, policy: str) -> list[dict[str, Any]]:
    """A row for each setting of a policy, those with most valid cells and then the best first."""
    rows = [row for row in summary["cells"] if row["valid"] and row["n"] > 1]
    mps = {row["cell"]: row["mean_ms"] for row in rows if row["policy"] == CAPACITY}
    found = []
    names = dict.fromkeys(row["policy"] for row in rows)
    for name in (n for n in names if n == policy or n.startswith(f"{policy}[")):
        mine = [row for row in rows if row["policy"] == name and row["cell"] in mps]
        if mine:
            found.append(
                {
                    "policy": name,
                    "cells": len(mine),
                    "mean_ms": round(statistics.mean(row["mean_ms"] for row in mine), 3),
                    "p99_ms": round(statistics.mean(row["p99_ms"] for row in mine), 3),
                    "mean_below_mps_pct": round(
                        statistics.mean(
                            reduction_pct(row["mean_ms"], mps[row["cell"]]) for row in mine
                        ),
                        3,
                    ),
                }
            )
    return sorted(found, key=lambda row: (-row["cells"], -row["mean_below_mps_pct"]))


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _short(workload: str) -> str:
    return "+".join(
        word.rpartition("/")[2] if "/" in word else word for word in workload.split("+")
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{2 if value < 100 else 1}f}"


def _change(below_pct: float | None) -> str:
    """A reduction as a change: below is negative."""
    if below_pct is None:
        return "-"
    return f"{0.0 if abs(below_pct) < 0.05 else -below_pct:+.1f}%"


def _below(pct: float) -> str:
    return f"{abs(pct):.1f}% {'below' if pct >= 0 else 'above'}"
