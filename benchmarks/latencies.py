"""Latencies of models on the GPU: alone on every partition, and beside each other.

    python benchmarks/latencies.py [--output FILE] [--only alone,pairs,fours,open]
    python benchmarks/latencies.py --only places

What profiles and the simulator have to predict. Each tenant is a server that holds all models
(programs/graph_server.py); cells with as many tenants are measured in one session. Modes: `mps`,
everything on all units, and `static`, each tenant on its own ones. In closed loop, and with
requests that arrive at random at a part of the rate that the cell reaches in closed loop under
`mps`. `places` goes to a file of its own: one tenant of four works, on each of the quarters, and
then all of them.

A row is a tenant of a cell that works: models, batches, n, working (how many of n), workload, mode,
units, tenant, mean_ms, median_ms, p99_ms, requests, spread_pct (quartiles of the latencies).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import common

SEED = 1
FIRST_CORE = 4
MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
HELD_OUT = ("resnet50", "efficientnet_b0", "vit_b_16")
LOADED = (
    *((name, batch) for name in MODELS for batch in (1, 8, 32)),
    *((name, 8) for name in HELD_OUT),
    ("resnet50", 1),
)
LIGHT = (("mobilenet_v2", 1), ("resnet50", 1))
HEAVY = (("vgg16", 32), ("resnet152", 32), ("densenet201", 32))
OPEN_LOADS = {"medium": 0.5, "dense": 0.8}
LEAD_S = 0.03
Model = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """Tenants that are served at the same time."""

    models: tuple[Model, ...]
    mode: str
    quotas: tuple[int, ...]
    """Units of each; under `mps` they are not used."""
    seconds: float
    workload: str = "closed"
    load: float = 0.0
    idle: tuple[int, ...] = ()
    """Tenants that are there and do nothing."""

    @property
    def working(self) -> list[int]:
        return [number for number in range(len(self.models)) if number not in self.idle]


def halves(models: tuple[Model, ...], seconds: float) -> list[Cell]:
    """The same tenants free and split evenly."""
    units = 16 // len(models)
    quotas = (units,) * len(models)
    return [Cell(models, mode, quotas, seconds) for mode in ("mps", "static")]


def cells(only: Sequence[str]) -> list[Cell]:
    """All cells, in the order in which they are measured."""
    found: list[Cell] = []
    if "alone" in only:
        for model in LOADED:
            for units in range(1, 17) if model[1] == 8 else (2, 4, 6, 8, 12, 16):
                seconds = (0.1 if model[1] < 32 else 0.15) * max(1.0, 6 / units)
                found.append(Cell((model,), "static", (units,), seconds))
    pairs = [((a, 8), (b, 8)) for i, a in enumerate(MODELS) for b in MODELS[i:]]
    mixed = [(light, heavy) for light in LIGHT for heavy in HEAVY]
    held_out = [((name, 8), (other, 8)) for name in HELD_OUT for other in ("resnet152", "vgg16")]
    if "pairs" in only:
        for models in (*pairs, *mixed, *held_out):
            found += halves(models, 0.35)
        for models in mixed:
            found.append(Cell(models, "static", (4, 12), 0.35))
    if "fours" in only:
        for name in MODELS:
            found += halves(((name, 8),) * 4, 0.5)
    if "open" in only:
        for name in MODELS:
            for count in (2, 4):
                for workload, load in OPEN_LOADS.items():
                    for cell in halves(((name, 8),) * count, 1.5 if name != "resnet152" else 2.0):
                        found.append(
                            Cell(cell.models, cell.mode, cell.quotas, cell.seconds, workload, load)
                        )
    if "places" in only:
        for name in MODELS:
            for batch in (8, 32):
                alone = Cell(((name, batch),) * 4, "static", (4,) * 4, 0.3)
                found += [replace(alone, idle=others) for others in combinations(range(4), 3)]
                found.append(alone)
    return found


class Servers:
    """As many servers as a cell has tenants, in a session of their own."""

    def __init__(self, models: Sequence[Model], count: int) -> None:
        words = [f"{name}:{batch}" for name, batch in models]
        script = str(common.PROGRAMS / "graph_server.py")
        log = common.BUILD / "logs" / "graph_server"
        self._all: list[common.Child] = []
        for number in range(count):
            core = str(FIRST_CORE + number)
            command = [sys.executable, script, "--core", core, *words]
            tenant = common.as_tenant(command, name=f"t{number}", policy="static")
            self._all.append(common.Child(tenant, common.environment(), log))
        try:
            for server in self._all:
                server.hear(300)
        except BaseException:
            self.close()
            raise
        self.arena = common.arena()
        self.capacity_rps: dict[tuple[Model, ...], float] = {}
        """Of each tenant of equal ones, in closed loop under mps."""

    def measure(self, cell: Cell) -> list[common.Row]:
        """A row for each tenant."""
        count = len(cell.models)
        self.arena.set_policy(cell.mode)
        if cell.mode == "static":
            # The least first, so that the sum is never more than there is.
            for quotas in ((1,) * count, cell.quotas):
                for number, units in enumerate(quotas):
                    self.arena.update(f"t{number}", quota_units=units)
        rate_rps = None
        if cell.load:
            rate_rps = cell.load * self.capacity_rps[cell.models]
        begin_ns = time.monotonic_ns() + int(1e9 * (LEAD_S + 0.15))
        for number in cell.working:
            name, batch = cell.models[number]
            order = {
                "model": name,
                "batch": batch,
                "begin_ns": begin_ns,
                "seconds": cell.seconds,
                "rate_rps": rate_rps,
                "seed": SEED + number,
            }
            self._all[number].tell(json.dumps(order))
        answers = {number: json.loads(self._all[number].hear(60)) for number in cell.working}
        if cell.mode == "mps" and not cell.load:
            rates = [len(answer) / cell.seconds for answer in answers.values()]
            self.capacity_rps[cell.models] = sum(rates) / count
        # Slices are in the order in which tenants came, which is another one each time.
        places = {row["name"]: list(row["units"]) for row in self.arena.tenants()}
        return [
            row_of(cell, number, answer, rate_rps) | {"place": places[f"t{number}"]}
            for number, answer in answers.items()
        ]

    def close(self) -> None:
        """End them and the session."""
        for server in self._all:
            server.close()
        common.end_session()


def row_of(
    cell: Cell, tenant: int, latencies_ms: Sequence[float], rate_rps: float | None
) -> common.Row:
    """What is written of one tenant of a cell."""
    # The last in closed loop may have run while others had stopped already.
    kept = sorted(latencies_ms[:-1] if rate_rps is None and len(latencies_ms) > 2 else latencies_ms)
    if not kept:
        kept = [float("nan")]
    return {
        "models": [name for name, _ in cell.models],
        "batches": [batch for _, batch in cell.models],
        "n": len(cell.models),
        "working": len(cell.working),
        "workload": cell.workload,
        "mode": cell.mode,
        "units": list(cell.quotas),
        "tenant": tenant,
        "mean_ms": round(statistics.fmean(kept), 5),
        "median_ms": round(statistics.median(kept), 5),
        "p99_ms": round(kept[min(len(kept) - 1, int(0.99 * len(kept)))], 5),
        "requests": len(kept),
        "rate_rps": rate_rps,
        "seconds": cell.seconds,
        "spread_pct": round(common.spread_pct(kept), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="default: latencies.json or places.json")
    parser.add_argument("--only", default="alone,pairs,fours,open")
    parser.add_argument("--budget-s", type=float, default=480)
    options = parser.parse_args()
    only = options.only.split(",")
    if "places" in only and len(only) > 1:
        parser.error("'places' goes to a file of its own: ask for it alone, --only places")
    output = options.output or common.RESULTS / (
        "places.json" if "places" in only else "latencies.json"
    )
    deadline = time.monotonic() + options.budget_s
    head = common.header([SEED])
    rows: list[common.Row] = []
    counters: dict[str, common.Row] = {}
    common.end_session()
    todo = cells(only)
    for count in sorted({len(cell.models) for cell in todo}):
        group = [cell for cell in todo if len(cell.models) == count]
        models = sorted({model for cell in group for model in cell.models})
        servers = Servers(models, count)
        try:
            common.note(f"{count} servers are ready; {len(group)} cells")
            for number, cell in enumerate(group):
                if time.monotonic() > deadline:
                    common.note(f"the time is up: {len(group) - number} cells are missing")
                    break
                rows += servers.measure(cell)
            for row in servers.arena.tenants():
                seen = {name: value for name, value in row["counters"].items() if value}
                counters[f"{row['name']} of {count}"] = seen
            common.write(output, head, rows, counters=counters)
        finally:
            servers.close()
    shown = [row for row in rows if row["n"] > 1 or row["units"] == [16]]
    common.show(
        shown,
        [
            "models",
            "batches",
            "workload",
            "mode",
            "units",
            "tenant",
            "mean_ms",
            "p99_ms",
            "requests",
            "spread_pct",
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
