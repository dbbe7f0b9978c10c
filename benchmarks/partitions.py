"""Do two tenants keep to their own partitions, and how soon does a changed quota show?

    python benchmarks/partitions.py [--rounds 12] [--changes 24] [--output FILE]

Two tenants under `static` run a compute-bound kernel of many blocks (programs/native/burner.cu).
Rows of kind `split`: for 50/50, 75/25 and 25/75, the median time of a kernel while the other tenant
is idle and while it works, in turns. Rows of kind `change`: both work without a pause, one quota
changes again and again; a change shows with the first kernel that takes as long as the kernels do
in the end, as most of the next ones do too. Its time ends with the end of that kernel, and begins
before the change is made in the arena, or before `fico set` is started.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common

SEED = 1
NAMES = ("A", "B")
SPLITS = ((50, 50), (75, 25), (25, 75))
DEPTH = 4  # launches between two waits, where times are compared
TURN_S = 0.25
NEAR = 0.1  # a kernel within this part of the final time shows the final split
SETTLED_OF_TEN = 9
WITHIN_S = 5.0


@dataclass(frozen=True)
class Launch:
    """One kernel, as the host saw it, in CLOCK_MONOTONIC."""

    end_ns: int
    duration_ns: int


def start(policy: str, name: str) -> common.Child:
    """A tenant of half of the GPU that works on command."""
    burner = [str(common.built("burner", "burner.cu"))]
    command = common.as_tenant(burner, name=name, quota="50%", policy=policy)
    child = common.Child(command, common.environment(), common.BUILD / "logs" / f"burner-{name}")
    answer = child.hear()
    if not answer.startswith("ready "):
        raise RuntimeError(f"tenant {name} says {answer!r}")
    return child


def median_us(answer: str) -> float:
    """The median out of the answer to `run`."""
    words = answer.split()
    if not words or words[0] != "ran":
        raise RuntimeError(f"the answer {answer!r} is not understood")
    return float(words[1])


def set_split(tenants: Sequence[common.Child], shares: Sequence[int]) -> None:
    """Give the two tenants these percentages, and wait until each holds what it was given."""
    arena = common.arena()
    now = [common.tenant(name)["quota_ppm"] for name in NAMES]
    wanted = [share * 10_000 for share in shares]
    for i in sorted(range(2), key=lambda i: wanted[i] - now[i]):  # who shrinks goes first
        arena.update(NAMES[i], quota_ppm=wanted[i])
    deadline = time.monotonic() + WITHIN_S
    while not all(holds_its_own(name) for name in NAMES):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the units did not change hands within {WITHIN_S:g} s")
        for child in tenants:  # a tenant takes its units with its next launch
            child.ask("run 0.005")


def holds_its_own(name: str) -> bool:
    """Whether a tenant holds all of its units and no other."""
    row = common.tenant(name)
    return row["held"] == list(range(*row["units"]))


def measure_split(
    tenants: Sequence[common.Child], shares: tuple[int, int], rounds: int
) -> list[common.Row]:
    """Each tenant beside the other against itself alone on the same units."""
    set_split(tenants, shares)
    alone: tuple[list[float], list[float]] = ([], [])
    beside: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for i, child in enumerate(tenants):
            alone[i].append(median_us(child.ask(f"run {TURN_S} {DEPTH}")))
        for child in tenants:
            child.tell(f"run {TURN_S} {DEPTH}")
        for i, child in enumerate(tenants):
            beside[i].append(median_us(child.hear()))
        if number == 0:  # to warm up
            for times in (*alone, *beside):
                times.clear()
    rows = []
    for i, name in enumerate(NAMES):
        row = common.tenant(name)
        alone_us, beside_us = statistics.median(alone[i]), statistics.median(beside[i])
        rows.append(
            {
                "kind": "split",
                "split": "/".join(map(str, shares)),
                "tenant": name,
                "units": list(row["units"]),
                "sms": row["sms"],
                "alone_us": alone_us,
                "beside_us": beside_us,
                "slower_pct": round(100 * (beside_us / alone_us - 1), 3),
                "alone_spread_pct": round(common.spread_pct(alone[i]), 3),
                "beside_spread_pct": round(common.spread_pct(beside[i]), 3),
                "rounds": rounds,
            }
        )
    return rows


def traced(child: common.Child) -> list[Launch]:
    """End a tenant's trace and give its launches."""
    child.tell("enough")
    launches = []
    while (line := child.hear()) != "end":
        end_ns, duration_ns = line.split()
        launches.append(Launch(int(end_ns), int(duration_ns)))
    return launches


def shown_after_ns(launches: Sequence[Launch], begun_ns: int, next_ns: int) -> int | None:
    """How long after a change it shows for good; None if it never does, up to the next change."""
    after = [launch for launch in launches if begun_ns < launch.end_ns < next_ns]
    if len(after) < 40:
        return None
    final_ns = statistics.median(launch.duration_ns for launch in after[len(after) // 2 :])
    near = [abs(launch.duration_ns - final_ns) <= NEAR * final_ns for launch in after]
    for i in range(len(after) - 10):
        if near[i] and sum(near[i : i + 10]) >= SETTLED_OF_TEN:
            return after[i].end_ns - begun_ns
    return None


@dataclass(frozen=True)
class Change:
    """A change of A's share; B has what is left."""

    share: int
    begun_ns: int
    done_ns: int


def through_arena(share: int) -> None:
    """What `fico set` does in the end."""
    common.arena().update("A", quota_ppm=share * 10_000)


def through_command(share: int) -> None:
    """`fico set` itself."""
    done = common.fico("set", "A", "--quota", f"{share}%")
    if done.returncode != 0:
        raise RuntimeError(f"fico set: {done.stderr.strip()}")


def measure_changes(
    tenants: Sequence[common.Child], via: str, count: int, source: random.Random
) -> list[common.Row]:
    """Change A's share between 25% and 75% while both work without a pause."""
    change = {"arena": through_arena, "command": through_command}[via]
    pause_s = {"arena": 0.12, "command": 0.2}[via]
    # B has no quota of its own: what A does not reserve. So one change is both tenants' change.
    set_split(tenants, (25, 25))
    common.arena().update("B", quota_ppm=0)
    for child in tenants:
        child.ask("run 0.1")
    for child in tenants:
        child.tell("trace")
    time.sleep(0.2)
    changes = []
    for number in range(count):
        share = (75, 25)[number % 2]
        begun_ns = time.monotonic_ns()
        change(share)
        changes.append(Change(share, begun_ns, time.monotonic_ns()))
        time.sleep(pause_s * source.uniform(1, 1.5))
    end_ns = time.monotonic_ns()
    rows = []
    for i, child in enumerate(tenants):
        launches = traced(child)
        for grows in (True, False):
            mine = [
                (one, later)
                for one, later in zip(changes, [*changes[1:], None], strict=True)
                if ((one.share == 75) == (i == 0)) == grows
            ]
            rows.append(change_row(NAMES[i], via, grows, launches, mine, end_ns))
    return rows


def change_row(
    name: str,
    via: str,
    grows: bool,
    launches: Sequence[Launch],
    changes: Sequence[tuple[Change, Change | None]],
    end_ns: int,
) -> common.Row:
    """One row: how soon the changes of one tenant in one direction showed."""
    shown_ms, after_command_ms = [], []
    for one, later in changes:
        next_ns = end_ns if later is None else later.begun_ns
        spent_ns = shown_after_ns(launches, one.begun_ns, next_ns)
        if spent_ns is not None:
            shown_ms.append(spent_ns / 1e6)
            after_command_ms.append((one.begun_ns + spent_ns - one.done_ns) / 1e6)
    return {
        "kind": "change",
        "via": via,
        "tenant": name,
        "direction": "grows" if grows else "shrinks",
        "changes": len(changes),
        "shown": len(shown_ms),
        "median_ms": statistics.median(shown_ms) if shown_ms else None,
        "max_ms": max(shown_ms, default=None),
        "after_call_median_ms": statistics.median(after_command_ms) if shown_ms else None,
        "after_call_max_ms": max(after_command_ms, default=None),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="turns alone and beside the other")
    parser.add_argument("--changes", type=int, default=48, help="changes of the quota in the arena")
    parser.add_argument("--commands", type=int, default=20, help="changes through fico set")
    parser.add_argument("--output", type=Path, default=common.RESULTS / "partitions.json")
    options = parser.parse_args()
    head = common.header([SEED])
    source = random.Random(SEED)
    rows: list[common.Row] = []
    common.end_session()
    tenants: list[common.Child] = []
    try:
        tenants = [start("static", name) for name in NAMES]
        for shares in SPLITS:
            rows += measure_split(tenants, shares, options.rounds)
            common.write(options.output, head, rows)
        for via, count in (("arena", options.changes), ("command", options.commands)):
            rows += measure_changes(tenants, via, count, source)
            common.write(options.output, head, rows)
        fall_backs = {name: common.tenant(name)["counters"] for name in NAMES}
        common.write(options.output, head, rows, counters=fall_backs)
    finally:
        for child in tenants:
            child.close()
        common.end_session()
    splits = [row for row in rows if row["kind"] == "split"]
    common.show(splits, ["split", "tenant", "sms", "alone_us", "beside_us", "slower_pct"])
    columns = ["via", "tenant", "direction", "changes", "shown", "median_ms", "max_ms"]
    changes = [row for row in rows if row["kind"] == "change"]
    common.show(changes, [*columns, "after_call_median_ms", "after_call_max_ms"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
