"""What each part of the `fico` policy is worth: a suite in the simulator, one part off at a time.

    python benchmarks/ablation.py --out build/ablation [--suite poster] [--seed 1] [--profiles DIR]

Prints a table: mean and p99 latency over those of `mps` (means over the cells), cells that are more
than 2% over `mps`, and the share of cells that kept the promise. Stopped, it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

PARTS = {
    "fico": "",
    "no order (all at one priority)": "order=0",
    "late ones not first": "grace_percent=1000",
    "no parts (all units shared)": "split=0",
    "parts wherever they gain at all": "gain_percent=0",
    "short kernels among long ones as others": "wait_us=0",
    "slices not given back": "reclaim_percent=1000000",
    "nobody waits for a short request": "ahead_percent=1000000",
    "parts not kept for who is back soon": "linger_us=0",
    "alone, pieces as short as beside others": "alone_percent=15",
    "whole graphs in one piece": "span_us=1000000000,span_percent=1000000,alone_percent=1000000",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="poster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profiles", action="append", default=[])
    options = parser.parse_args()
    names = {part: f"fico[{values}]" if values else "fico" for part, values in PARTS.items()}
    command = [sys.executable, "-m", "fico.cli", "bench", "run", options.suite]
    command += ["--out", str(options.out), "--seed", str(options.seed)]
    command += ["--policies", ",".join(["mps", "static", *names.values()])]
    for folder in options.profiles:
        command += ["--profiles", folder]
    subprocess.run(command, check=True)
    rows = json.loads((options.out / "summary.json").read_text())["cells"]
    cells: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        # Settings are written in the order of their names.
        policy, _, settings = row["policy"].rstrip("]").partition("[")
        key = ",".join(sorted(_settings(settings)))
        cells.setdefault(f"{policy}[{key}]", {})[row["cell"]] = row
    print("| | mean | p99 | over mps by 2% | promise kept |\n|---|---|---|---|---|")
    mps = cells["mps[]"]
    for part, values in PARTS.items():
        ours = cells[f"fico[{','.join(sorted(_settings(values)))}]"]
        means = [ours[cell]["mean_ms"] / mps[cell]["mean_ms"] for cell in mps]
        p99s = [ours[cell]["p99_ms"] / mps[cell]["p99_ms"] for cell in mps]
        kept = sum(bool(row["promise_kept"]) for row in ours.values()) / len(ours)
        print(
            f"| {part} | {sum(means) / len(means):.3f} | {sum(p99s) / len(p99s):.3f} "
            f"| {sum(mean > 1.02 for mean in means)} of {len(means)} | {kept:.0%} |"
        )


def _settings(text: str) -> list[str]:
    """`order=0,...`, each with its number written one way."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return [f"{name}={float(value):g}" for name, _, value in pairs]


if __name__ == "__main__":
    main()
