"""What a decision of the scheduler costs, in nanoseconds, for each policy and number of tenants.

    python benchmarks/decisions.py [--rounds 20000] [--repeats 5] [--output FILE]

tests/native/decision_bench.cpp lets tenants want and complete works in turn and counts allocations.
The best of the repeats is kept: everything else that runs on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fico import _native  # noqa: E402
from helpers import built  # noqa: E402

TENANTS = (1, 2, 4, 8, 16, 32, 48)


def decision_ns(policy: str, tenants: int, rounds: int) -> tuple[float, int]:
    """Nanoseconds of one decision, and how often memory was allocated in all of them."""
    command = [str(built.program("decision_bench")), policy, str(tenants), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    spent, allocations = done.stdout.split()
    return float(spent), int(allocations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = []
    table = Table("policy", *(str(tenants) for tenants in TENANTS), title="ns per decision")
    for policy in (row["name"] for row in _native.policies()):
        cells = []
        for tenants in TENANTS:
            runs = [decision_ns(policy, tenants, options.rounds) for _ in range(options.repeats)]
            best_ns = min(spent for spent, _ in runs)
            rows.append(
                {
                    "policy": policy,
                    "tenants": tenants,
                    "decision_ns": best_ns,
                    "allocations": max(allocations for _, allocations in runs),
                }
            )
            cells.append(f"{best_ns:.0f}")
        table.add_row(policy, *cells)
    Console().print(table)
    if options.output:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        options.output.write_text(json.dumps({"date": date, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
