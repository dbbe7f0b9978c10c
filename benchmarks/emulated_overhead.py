"""What Fico adds to a kernel launch on the emulated driver, in nanoseconds.

    python benchmarks/emulated_overhead.py [--rounds 60] [--launches 8192] [--output FILE]

A small program (tests/native/launch_bench.cpp) launches an empty kernel on one stream: without
Fico, and as a tenant under `mps` (pass-through), `static` (confined, no change of partition between
launches) and `shuffle` (a new partition for every launch). All of them stay alive and take turns,
so that a change of the machine's speed meets them alike; the medians are compared. The emulated
driver runs in its instant mode, where kernels take no time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers import built  # noqa: E402
from helpers.session import Session, emulated_env  # noqa: E402

MODES = ("plain", "mps", "static", "shuffle")
SEED = 1


def measure(folder: Path, rounds: int, launches: int) -> dict[str, list[float]]:
    """Nanoseconds per launch, a list of all rounds for each mode."""
    command = [str(built.program("launch_bench"))]
    env = emulated_env(None)
    plain = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    assert plain.stdin
    assert plain.stdout
    ask: dict[str, Callable[[str], object]] = {"plain": plain.stdin.write}
    flush: dict[str, Callable[[], object]] = {"plain": plain.stdin.flush}
    answer: dict[str, Callable[[], str]] = {"plain": plain.stdout.readline}
    sessions: list[Session] = []
    for policy in MODES[1:]:
        place = folder / policy
        place.mkdir()
        session = Session(place, policy)
        sessions.append(session)
        tenant = session.start(command, quota_units=5, env=env)
        ask[policy] = tenant.stdin.write
        flush[policy] = tenant.stdin.flush
        answer[policy] = tenant.stdout.readline

    samples: dict[str, list[float]] = {mode: [] for mode in MODES}
    order = list(MODES)
    source = random.Random(SEED)
    warm_up = 3
    for number in range(rounds + warm_up):
        source.shuffle(order)
        for mode in order:
            ask[mode](f"{launches}\n")
            flush[mode]()
            spent_ns = float(answer[mode]())
            if number >= warm_up:
                samples[mode].append(spent_ns)
    plain.communicate()
    for session in sessions:
        session.__exit__()
    return samples


def rows_of(samples: dict[str, list[float]]) -> list[dict[str, object]]:
    base = statistics.median(samples["plain"])
    rows: list[dict[str, object]] = []
    for mode in MODES:
        ordered = sorted(samples[mode])
        median = statistics.median(ordered)
        rows.append(
            {
                "mode": mode,
                "launch_ns": round(median, 1),
                "added_ns": round(median - base, 1),
                "p10_ns": ordered[len(ordered) // 10],
                "p90_ns": ordered[len(ordered) * 9 // 10],
                "rounds": len(ordered),
            }
        )
    return rows


def commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=60, help="batches of each mode")
    parser.add_argument("--launches", type=int, default=8192, help="launches in a batch")
    parser.add_argument("--output", type=Path, help="a file for the result, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(measure(Path(folder), options.rounds, options.launches))
    table = Table(title="a kernel launch on the emulated driver, ns (median)")
    for column in ("mode", "launch", "added", "p10", "p90"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for row in rows:
        table.add_row(*(str(row[k]) for k in ("mode", "launch_ns", "added_ns", "p10_ns", "p90_ns")))
    Console().print(table)
    if options.output:
        result = {
            "gpu": "emulated",
            "driver": "emulated",
            "cuda": "13.0",
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seeds": [SEED],
            "rows": rows,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
