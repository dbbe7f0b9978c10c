"""What each part of the `fico` policy is worth: a suite in the simulator, one part off at a time.

    python benchmarks/ablation.py --out build/ablation [--suite poster] [--seed 1] [--profiles DIR]

Prints a table: mean and p99 latency over those of `mps`, of cells and of their tenants each over
itself (means over the cells), in how many cells the mean is more than 2% over `mps`, and how many
kept the promise. Stopped, it goes on. `live_ablation.py` does it on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

import common
from fico.bench.headline import MOST_OVER_PCT
from fico.bench.policy import CAPACITY, OURS, YARDSTICK, parse_policy
from fico.bench.store import read_summary

PARTS = {
    "all": "",
    "no order (all at one priority)": "order=0",
    "no parts (all units shared)": "split=0",
    "short kernels among long ones as others": "wait_us=0",
    "slices not given back": "reclaim_percent=1000000",
    "nobody waits for a short request": "late_percent=-100",
    "parts not kept for who is back soon": "linger_us=0",
    "whole graphs in one piece": "span_us=1000000000,span_percent=1000000",
}
RATIOS = ("mean_over_mps", "p99_over_mps", "tenants_mean_over_mps", "tenants_p99_over_mps")
COLUMNS = ("part", *RATIOS, "over_mps", "promise_kept", "cells", "invalid")


def policy_of(part: str) -> str:
    """As `summary.json` writes it."""
    return str(parse_policy(f"{OURS}[{PARTS[part]}]" if PARTS[part] else OURS))


def command(suite: str, out: Path, seed: int) -> list[str]:
    """What runs a suite under all of them, and under those that they are compared with."""
    policies = [CAPACITY, YARDSTICK, *map(policy_of, PARTS)]
    words = [sys.executable, "-m", "fico.cli", "bench", "run", suite, "--out", str(out)]
    return [*words, "--seed", str(seed), "--policies", ",".join(policies)]


def cell_rows(folder: Path) -> list[common.Row]:
    """A row for each part and cell that was run without it."""
    cells = read_summary(folder)["cells"]
    known = {(row["policy"], row["cell"]): row for row in cells}
    tenants: dict[tuple[str, str], list[common.Row]] = {}
    for row in pq.read_table(folder / "tenants.parquet").to_pylist():
        tenants.setdefault((row["policy"], row["cell"]), []).append(row)
    names = dict.fromkeys(row["cell"] for row in cells)
    found = []
    for part in PARTS:
        for cell in names:
            ours, mps = known.get((policy_of(part), cell)), known.get((CAPACITY, cell))
            if ours is None or mps is None:
                continue
            valid = ours["valid"] and mps["valid"]
            mine, theirs = tenants[policy_of(part), cell], tenants[CAPACITY, cell]
            found.append(
                {
                    "part": part,
                    "policy": policy_of(part),
                    **{name: ours[name] for name in ("cell", "workload", "n", "quotas")},
                    "mean_ms": ours["mean_ms"],
                    "p99_ms": ours["p99_ms"],
                    "tenants_p99_ms": [tenant["p99_ms"] for tenant in mine],
                    "mean_over_mps": ours["mean_ms"] / mps["mean_ms"] if valid else None,
                    "p99_over_mps": ours["p99_ms"] / mps["p99_ms"] if valid else None,
                    "tenants_mean_over_mps": ratio(mine, theirs, "mean_ms") if valid else None,
                    "tenants_p99_over_mps": ratio(mine, theirs, "p99_ms") if valid else None,
                    "promise_kept": ours["promise_kept"],
                    "valid": valid,
                }
            )
    return found


def ratio(ours: Sequence[common.Row], theirs: Sequence[common.Row], figure: str) -> float:
    """Mean over the tenants of a figure of each over its own under the other policy."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.mean(float(mine[figure] / other[figure]) for mine, other in pairs)


def part_rows(rows: Sequence[common.Row]) -> list[common.Row]:
    """A row for each part, over the cells that are valid for all of them."""
    left_out = {row["cell"] for row in rows if not row["valid"]}
    found = []
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part]
        counted = [row for row in mine if row["cell"] not in left_out]
        kept = [row["promise_kept"] for row in counted if row["promise_kept"] is not None]
        means = [row["mean_over_mps"] for row in counted]
        found.append(
            {
                "part": part,
                "policy": mine[0]["policy"],
                **{
                    name: statistics.mean(row[name] for row in counted) if counted else None
                    for name in RATIOS
                },
                "over_mps": sum(mean > 1 + MOST_OVER_PCT / 100 for mean in means),
                "promise_kept": sum(kept) if kept else None,
                "cells": len(counted),
                "invalid": sum(not row["valid"] for row in mine),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="poster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profiles", action="append", default=[])
    options = parser.parse_args()
    words = command(options.suite, options.out, options.seed)
    for folder in options.profiles:
        words += ["--profiles", folder]
    subprocess.run(words, check=True)
    common.show(part_rows(cell_rows(options.out)), COLUMNS)


if __name__ == "__main__":
    main()
