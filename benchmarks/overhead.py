"""What Fico costs a tenant that has the GPU to itself: requests, start-up, GPU memory.

    python benchmarks/overhead.py [--rounds 6] [--generations 2] [--budget-s 480] [--output FILE]

Requests: three servers of the same models (programs/vision_server.py) live at the same time and
take turns, so that a change of the machine's speed meets all: without Fico and MPS (`without_ms`),
as a client of MPS alone (`mps_ms`), and under `fico run` (`with_ms`). Only one works at a time, and
their threads that launch share one core. Every generation starts three new processes. A figure is
the median of the medians of all turns.

Start-up: from starting a small program to its first result from the GPU. Memory: what the GPU has
less of while that program lives. Both beside a running session with another tenant.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import common
from partitions import median_us

SEED = 1
MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
BATCHES = (1, 8)
MODES = ("graph", "eager")
KINDS = ("plain", "mps", "fico")
CORE = 3
LOAD_WITHIN_S = 240.0

Cell = tuple[str, int, str]
Samples = dict[tuple[Cell, str], list[float]]


def start_servers(models: Sequence[str]) -> dict[str, common.Child]:
    """A server of each kind, all ready. Fico's comes first, since its session starts MPS."""
    script = str(common.PROGRAMS / "vision_server.py")
    command = [
        sys.executable,
        script,
        "--core",
        str(min(CORE, (os.cpu_count() or 1) - 1)),
        "--models",
        ",".join(models),
    ]
    tenant = common.as_tenant(command, name="server", policy="static")
    log = common.BUILD / "logs" / "vision_server"
    servers = {"fico": common.Child(tenant, common.environment(), log)}
    try:
        deadline = time.monotonic() + 60
        while not common.has_session():
            if time.monotonic() > deadline:
                raise RuntimeError(f"there is no session; see {log}")
            time.sleep(0.1)
        servers["plain"] = common.Child(command, common.environment(), log)
        servers["mps"] = common.Child(command, common.environment(**common.mps_environment()), log)
        for server in servers.values():
            if (said := server.hear(LOAD_WITHIN_S)) != "ready":
                raise RuntimeError(f"a server says {said!r}; see {log}")
    except BaseException:
        for server in servers.values():
            server.close()
        raise
    return servers


def measure_requests(
    models: Sequence[str], rounds: int, turn_s: float, deadline: float, source: random.Random
) -> Samples:
    """Medians of all turns of one generation of servers, in milliseconds."""
    samples: Samples = {}
    servers = start_servers(models)
    try:
        cells: list[Cell] = [(m, b, mode) for m in models for b in BATCHES for mode in MODES]
        for number in range(rounds):
            if number > 0 and time.monotonic() > deadline:
                common.note(f"the time is up after {number} rounds")
                break
            for cell in cells:
                order = list(KINDS)
                source.shuffle(order)
                for kind in order:
                    answer = json.loads(servers[kind].ask(" ".join(map(str, (*cell, turn_s)))))
                    samples.setdefault((cell, kind), []).append(answer["median_ms"])
    finally:
        for server in servers.values():
            server.close()
    return samples


def request_rows(generations: Sequence[Samples]) -> list[common.Row]:
    """A row per model, batch and mode."""
    rows = []
    for cell in generations[0]:
        if cell[1] != "plain":
            continue
        name, batch, mode = cell[0]
        turns = {kind: [t for g in generations for t in g[cell[0], kind]] for kind in KINDS}
        medians = {kind: statistics.median(turns[kind]) for kind in KINDS}
        each = [
            100
            * (statistics.median(g[cell[0], "fico"]) / statistics.median(g[cell[0], "plain"]) - 1)
            for g in generations
        ]
        rows.append(
            {
                "program": name,
                "batch": batch,
                "mode": mode,
                "without_ms": round(medians["plain"], 5),
                "mps_ms": round(medians["mps"], 5),
                "with_ms": round(medians["fico"], 5),
                "overhead_pct": round(100 * (medians["fico"] / medians["plain"] - 1), 3),
                "over_mps_pct": round(100 * (medians["fico"] / medians["mps"] - 1), 3),
                "generations_pct": [round(pct, 3) for pct in each],
                "without_spread_pct": round(common.spread_pct(turns["plain"]), 3),
                "with_spread_pct": round(common.spread_pct(turns["fico"]), 3),
                "turns": len(turns["plain"]),
            }
        )
    return rows


def used_mib() -> float:
    """Memory of GPU 0 in use."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return float(pynvml.nvmlDeviceGetMemoryInfo(handle).used) / (1 << 20)


def measure_start(source: random.Random, rounds: int) -> tuple[common.Row, list[common.Row]]:
    """Start-up and memory of a small program, beside a tenant that idles."""
    burner = [str(common.built("burner", "burner.cu"))]
    log = common.BUILD / "logs" / "burner-start"
    anchor = common.Child(
        common.as_tenant(burner, name="anchor", policy="static"), common.environment(), log
    )
    starts: dict[str, list[float]] = {kind: [] for kind in KINDS}
    memory: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "fico shuffle")}
    try:
        anchor.hear()
        for number in range(rounds + 1):
            order = list(KINDS)
            source.shuffle(order)
            for kind in order:
                start_ms, used = _start_once(kind, burner, log)
                if number > 0:
                    starts[kind].append(start_ms)
                    memory[kind].append(used)
        common.arena().set_policy("shuffle")
        memory["fico shuffle"] = [_start_once("fico", burner, log)[1] for _ in range(3)]
    finally:
        anchor.close()
    medians = {kind: statistics.median(starts[kind]) for kind in KINDS}
    start: common.Row = {
        "without_ms": round(medians["plain"], 2),
        "mps_ms": round(medians["mps"], 2),
        "with_ms": round(medians["fico"], 2),
        "added_ms": round(medians["fico"] - medians["plain"], 2),
        "added_over_mps_ms": round(medians["fico"] - medians["mps"], 2),
        "with_max_ms": round(max(starts["fico"]), 2),
        "starts": rounds,
    }
    used_of = {kind: statistics.median(values) for kind, values in memory.items()}
    return start, [
        {
            "tenant": kind,
            "used_mib": round(used, 2),
            "added_mib": round(used - used_of["plain"], 2),
            "added_over_mps_mib": round(used - used_of["mps"], 2),
        }
        for kind, used in used_of.items()
    ]


def _start_once(kind: str, burner: list[str], log: Path) -> tuple[float, float]:
    """Milliseconds to the first result, and MiB in use once it has worked."""
    before_mib = used_mib()
    command = common.as_tenant(burner, name="starting") if kind == "fico" else burner
    mps = common.mps_environment() if kind == "mps" else {}
    child = common.Child(command, common.environment(**mps), log)
    try:
        word, time_ns = child.hear().split()
        if word != "ready":
            raise RuntimeError(f"the program says {word!r}")
        median_us(child.ask("run 0.2 4"))
        return (int(time_ns) - child.started_ns) / 1e6, used_mib() - before_mib
    finally:
        child.close()
        _settled()


def _settled() -> None:
    """Wait until the memory of a program that has ended is free again."""
    last = used_mib()
    for _ in range(40):
        time.sleep(0.05)
        now = used_mib()
        if now == last:
            return
        last = now


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="turns of each server and request")
    parser.add_argument("--generations", type=int, default=2, help="times the servers are started")
    parser.add_argument("--turn-s", type=float, default=0.25)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--budget-s", type=float, default=480, help="start no round after this")
    parser.add_argument("--output", type=Path, default=common.RESULTS / "overhead.json")
    options = parser.parse_args()
    deadline = time.monotonic() + options.budget_s
    head = common.header([SEED])
    source = random.Random(SEED)
    rows: list[common.Row] = []
    common.end_session()
    try:
        start, memory = measure_start(source, options.starts)
        common.write(options.output, head, rows, start=start, memory=memory)
        common.end_session()
        generations: list[Samples] = []
        models = options.models.split(",")
        for number in range(options.generations):
            if time.monotonic() > deadline:
                break
            common.note(f"generation {number + 1} of {options.generations}")
            left_s = deadline - time.monotonic()
            until = time.monotonic() + left_s / (options.generations - number)
            generations.append(
                measure_requests(models, options.rounds, options.turn_s, until, source)
            )
            rows = request_rows(generations)
            common.write(options.output, head, rows, start=start, memory=memory)
            common.end_session()
    finally:
        common.end_session()
    common.show([start], list(start))
    common.show(memory, list(memory[0]))
    columns = ["program", "batch", "mode", "without_ms", "mps_ms", "with_ms", "overhead_pct"]
    spreads = ["over_mps_pct", "generations_pct", "without_spread_pct", "with_spread_pct", "turns"]
    common.show(rows, [*columns, *spreads])
    return 0


if __name__ == "__main__":
    sys.exit(main())
