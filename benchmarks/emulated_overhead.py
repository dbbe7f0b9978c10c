"""What Fico adds to a kernel launch on the emulated driver, in nanoseconds.

    python benchmarks/emulated_overhead.py [--rounds 60] [--launches 8192] [--starts 1]
                                           [--cold-kib 0] [--output FILE]

A small program (tests/native/launch_bench.cpp) launches an empty kernel on one stream: without
Fico, and as a tenant under `mps` (pass-through), `static` (confined, no change of partition between
launches), `shuffle` (a new partition for every launch) and `fico`, where a profile knows every
launch: alone in the session, beside a tenant that is idle, and beside one in a request. There every
launch is decided on, and what that takes is `over_mps_ns`. All of them stay alive and take turns,
so that a change of the machine's speed meets them alike; the medians are compared. The emulated
driver runs in its instant mode, where kernels take no time, and its thread looks at what was
launched every half millisecond only, so that it does not slow down who launches meanwhile.

With --cold-kib N the program reads N KiB of other memory before each launch, so that neither the
code nor the data of a launch are in the caches still (4096 is enough for that). Programs in Python
with a large framework come close to it, and to fetch all that costs more than to execute it. What
it costs depends on where a process has it in memory: --starts N starts all of them so often.
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

import numpy as np
from rich.console import Console
from rich.table import Table

from fico import _native

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers import built  # noqa: E402
from helpers.session import UNITS, Session, Tenant, emulated_env  # noqa: E402

IDLE, BUSY = "fico, another idle", "fico, another in a request"
MODES = ("plain", "mps", "static", "shuffle", "fico", IDLE, BUSY)
SEED = 1
LAUNCHES = 257
"""Of a batch of launch_bench, which the profile has as one request."""
SHORTEST_US = 0.01
FALL_BACKS = ("unscheduled_launches", "unprofiled_launches", "resyncs", "late_pieces")


def write_profile(path: Path) -> None:
    """What the profile of launch_bench is to the library: so short that nothing waits for room."""
    shape = (LAUNCHES, len(UNITS))
    ones = np.ones(LAUNCHES, np.uint32)
    trace = _native.SimTrace(
        duration_us=np.full(shape, SHORTEST_US),
        gap_us=np.zeros(LAUNCHES),
        blocks=ones,
        blocks_per_sm=ones,
        threads=32 * ones,
        registers=32 * ones,
        shared_bytes=0 * ones,
        cluster=ones,
        sensitivity=np.zeros((LAUNCHES, 3)),
        pressure=np.zeros((LAUNCHES, 3)),
        right_units=ones,
        kernel_class=np.zeros(LAUNCHES, np.uint8),
        bound=np.zeros(LAUNCHES, np.uint8),
        from_graph=False,
    )
    _native.write_kernel_table(str(path), [([("spin", (1, 1, 1), (32, 1, 1))] * LAUNCHES, trace)])


def start(session: Session, mode: str, command: list[str], env: dict[str, str]) -> Tenant:
    """The tenant that launches, and the other one where the mode has one."""
    if mode.startswith("fico"):
        profile = session.folder / "profile"
        write_profile(profile)
        env = env | {"FICO_PROFILE_TABLE": str(profile)}
    tenant = session.start(command, quota_units=5, env=env)
    if mode in (IDLE, BUSY):
        other = session.start(command, quota_units=5, env=env)
        # Both have to be there before one of them launches.
        other.stdin.write("256\n")
        other.stdout.readline()
        if mode == BUSY:
            other.stdin.write("begin\n")
            other.stdout.readline()
    return tenant


def measure(folder: Path, rounds: int, launches: int, cold_kib: int) -> dict[str, list[float]]:
    """Nanoseconds per launch, a list of all rounds for each mode."""
    command = [str(built.program("launch_bench"))]
    env = emulated_env(None) | {"FICO_EMULATED_TAKE_US": "500"}
    plain = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    assert plain.stdin
    assert plain.stdout
    ask: dict[str, Callable[[str], object]] = {"plain": plain.stdin.write}
    flush: dict[str, Callable[[], object]] = {"plain": plain.stdin.flush}
    answer: dict[str, Callable[[], str]] = {"plain": plain.stdout.readline}
    sessions: list[Session] = []
    for number, mode in enumerate(MODES[1:]):
        place = folder / str(number)
        place.mkdir()
        session = Session(place, mode.partition(",")[0])
        sessions.append(session)
        tenant = start(session, mode, command, env)
        ask[mode] = tenant.stdin.write
        flush[mode] = tenant.stdin.flush
        answer[mode] = tenant.stdout.readline

    samples: dict[str, list[float]] = {mode: [] for mode in MODES}
    order = list(MODES)
    source = random.Random(SEED)
    warm_up = 3
    for number in range(rounds + warm_up):
        source.shuffle(order)
        for mode in order:
            ask[mode](f"{launches} {cold_kib}\n")
            flush[mode]()
            spent_ns = float(answer[mode]())
            if number >= warm_up:
                samples[mode].append(spent_ns)
    plain.communicate()
    for session in sessions:
        counters = session.arena.tenants()[0]["counters"]
        if any(counters[name] for name in FALL_BACKS):
            raise RuntimeError(f"not all launches were decided on: {counters}")
        session.__exit__()
    return samples


def rows_of(samples: dict[str, list[float]]) -> list[dict[str, object]]:
    base, pass_through = (statistics.median(samples[mode]) for mode in ("plain", "mps"))
    rows: list[dict[str, object]] = []
    for mode in MODES:
        ordered = sorted(samples[mode])
        median = statistics.median(ordered)
        rows.append(
            {
                "mode": mode,
                "launch_ns": round(median, 1),
                "added_ns": round(median - base, 1),
                "over_mps_ns": round(median - pass_through, 1),
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
    parser.add_argument("--starts", type=int, default=1, help="times the programs are started")
    parser.add_argument(
        "--cold-kib", type=int, default=0, help="other memory read before each launch"
    )
    parser.add_argument("--output", type=Path, help="a file for the result, as JSON")
    options = parser.parse_args()
    samples: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(options.starts):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), options.rounds, options.launches, options.cold_kib)
        for mode in MODES:
            samples[mode] += found[mode]
    rows = rows_of(samples)
    table = Table(title="a kernel launch on the emulated driver, ns (median)")
    for column in ("mode", "launch", "added", "over mps", "p10", "p90"):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for row in rows:
        columns = ("mode", "launch_ns", "added_ns", "over_mps_ns", "p10_ns", "p90_ns")
        table.add_row(*(str(row[name]) for name in columns))
    Console().print(table)
    if options.output:
        result = {
            "gpu": "emulated",
            "driver": "emulated",
            "cuda": "13.0",
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seeds": [SEED],
            "cold_kib": options.cold_kib,
            "starts": options.starts,
            "rows": rows,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
