"""Find the best settings of the rivals: sweeps in the simulator, written to docs/rivals.md.

    python benchmarks/rivals.py --out build/rivals [--profiles DIR] [--suite poster]

Each rival that has settings is run with all combinations of those below, and as it is. The best has
the lowest mean latency, as the mean over the cells of its distance to `mps`. Stopped, it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fico import _native

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "rivals.md"
BEGIN, END = "<!-- sweeps: begin -->", "<!-- sweeps: end -->"
SHOWN = 8

# What is tried. Settings that only say what the GPU or a switch costs are left as they are.
GRIDS = {
    "mps-quota": ["percent_of_quota=75,100,150,200"],
    "timeslice": ["slice_us=500,1000,2000,4000"],
    "reef": ["all_realtime=0,1", "in_turn=0,1", "longest_hold_us=5000,20000"],
    "krisp": ["slowdown_percent=0,1,2,5,10,20", "overlap=0,1"],
    "orion": ["all_first=0,1", "small_percent=25,50,101", "outstanding_percent=1,2.5,10,50"],
    "lithos": ["steal=0,1", "right_sizing=0,1", "slowdown_percent=2,5,10,20"],
}


def sweep(policy: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    out = options.out / policy
    command = [sys.executable, "-m", "fico.cli", "bench", "sweep", options.suite, policy]
    command += [*GRIDS[policy], "--out", str(out), "--seed", str(options.seed)]
    for folder in options.profiles:
        command += ["--profiles", folder]
    subprocess.run(command, check=True)
    rows: list[dict[str, Any]] = json.loads((out / "sweep.json").read_text())
    return rows


def section(policy: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"### {policy}", "", "Tried: " + ", ".join(f"`{grid}`" for grid in GRIDS[policy]), ""]
    lines += [
        "| settings | mean vs mps | mean ms | p99 ms | valid cells |",
        "|---|---|---|---|---|",
    ]
    shown = rows[:SHOWN] + [row for row in rows[SHOWN:] if row["policy"] == policy]
    for row in shown:
        change = f"{0.0 - row['mean_below_mps_pct']:+.1f}%"
        name = "as it is" if row["policy"] == policy else row["policy"].partition("[")[2][:-1]
        lines.append(
            f"| {name} | {change} | {row['mean_ms']:g} | {row['p99_ms']:g} | {row['cells']} |"
        )
    if len(rows) > len(shown):
        lines += ["", f"{len(rows) - len(shown)} worse ones are left out."]
    return [*lines, ""]


def settings_text() -> list[str]:
    """The rivals' settings, as the policies describe them."""
    lines = ["| policy | setting | as it is | meaning |", "|---|---|---|---|"]
    for row in _native.policies():
        if row["name"] in GRIDS:
            lines += [
                f"| {row['name']} | {setting['name']} | {setting['initial']:g} "
                f"| {setting['meaning']} |"
                for setting in row["settings"]
            ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="poster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profiles", action="append", default=[])
    options = parser.parse_args()
    lines = [*settings_text(), ""]
    for policy in GRIDS:
        lines += section(policy, sweep(policy, options))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    source = f"Suite `{options.suite}`, seed {options.seed}, in the simulator."
    PAGE.write_text("\n".join([before + BEGIN, source, "", *lines, END + after.rstrip()]) + "\n")


if __name__ == "__main__":
    main()
