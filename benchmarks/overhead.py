"""What Fico costs a tenant that has the GPU to itself: requests, start-up, GPU memory.

    python benchmarks/overhead.py [--policy fico] [--profiles DIR] [--rounds 3] [--turns 6]
                                  [--generations 2] [--timeline DIR] [--budget-s 480]
                                  [--output FILE]

Requests: three servers of the same models (programs/vision_server.py) live at the same time and
take turns, so that a change of the machine's speed meets all: without Fico and MPS (`without_ms`),
as a client of MPS alone (`mps_ms`), and under `fico run` with the models' profiles (`with_ms`).
Only one works at a time, and their threads that launch share one core. Every generation starts
three new processes. The processor's speed wanders by up to a third from turn to turn, so turns are
short, and what is compared is always with the turn next to it: an overhead is the median of the
ratios of neighbouring turns, a time the median of the medians of all turns.

Each round is run twice: while the server is the only tenant of the session, and (`idle_...`) while
there is another one that does nothing, which comes and goes. Each half is compared with what the
other servers have done in it.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import common
from fico.bench.served_profiles import usable_profiles
from fico.runtime.gpus import find_gpu, selected_gpu
from partitions import median_us

SEED = 1
MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
BATCHES = (1, 8)
MODES = ("graph", "eager")
KINDS = ("plain", "mps", "fico")
ALONE, IDLE = "", "idle_"
"""Whether there is another tenant: what the names of figures begin with."""
CORE = 3
LOAD_WITHIN_S = 240.0

Cell = tuple[str, int, str]
Samples = dict[tuple[Cell, str, str], list[float]]


def cells_of(models: Sequence[str]) -> list[Cell]:
    return [(model, batch, mode) for model in models for batch in BATCHES for mode in MODES]


def start_servers(
    models: Sequence[str], policy: str, profiles: Sequence[Path], timeline: Path | None
) -> dict[str, common.Child]:
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
    tenant = common.as_tenant(
        command, name="server", policy=policy, profiles=profiles, timeline=timeline
    )
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


@contextmanager
def idle_tenant() -> Iterator[None]:
    """A tenant that has used the GPU and does nothing more."""
    command = common.as_tenant([str(common.built("burner", "burner.cu"))], name="idle")
    tenant = common.Child(command, common.environment(), common.BUILD / "logs" / "burner-idle")
    try:
        tenant.hear()
        yield
    finally:
        tenant.close()


def measure_requests(
    servers: dict[str, common.Child],
    cells: Sequence[Cell],
    rounds: int,
    turns: int,
    turn_s: float,
    deadline: float,
    source: random.Random,
) -> Samples:
    """Medians of all turns of one generation of servers, in milliseconds; neighbours alike."""
    samples: Samples = {}
    for number in range(rounds):
        if number > 0 and time.monotonic() > deadline:
            common.note(f"the time is up after {number} rounds")
            break
        for company in (ALONE, IDLE):
            with idle_tenant() if company == IDLE else nullcontext():
                for cell in cells:
                    for _ in range(turns):
                        order = list(KINDS)
                        source.shuffle(order)
                        for kind in order:
                            asked = " ".join(map(str, (*cell, turn_s)))
                            median_ms = json.loads(servers[kind].ask(asked))["median_ms"]
                            samples.setdefault((cell, kind, company), []).append(median_ms)
    return samples


def request_rows(generations: Sequence[Samples], unprofiled: Sequence[str]) -> list[common.Row]:
    """A row per model, batch and mode."""
    rows = []
    for cell in dict.fromkeys(cell for cell, _, _ in generations[0]):
        name, batch, mode = cell
        row: common.Row = {"program": name, "batch": batch, "mode": mode}
        row["profiled"] = profile_name(cell) not in unprofiled
        for company in (ALONE, IDLE):
            found = figures(generations, cell, company)
            row |= {company + figure: value for figure, value in found}
        rows.append(row)
    return rows


def figures(
    generations: Sequence[Samples], cell: Cell, company: str
) -> Iterator[tuple[str, float | list[float]]]:
    """What all turns say of a cell, with another tenant or without."""
    turns = {kind: [t for g in generations for t in g[cell, kind, company]] for kind in KINDS}
    for kind, name in (("plain", "without_ms"), ("mps", "mps_ms"), ("fico", "with_ms")):
        yield name, round(statistics.median(turns[kind]), 5)
    over = {kind: ratios(turns["fico"], turns[kind]) for kind in ("plain", "mps")}
    yield "overhead_pct", percent_over(over["plain"])
    yield "over_mps_pct", percent_over(over["mps"])
    yield (
        "over_mps_generations_pct",
        [
            percent_over(ratios(g[cell, "fico", company], g[cell, "mps", company]))
            for g in generations
        ],
    )
    yield "over_mps_spread_pct", round(common.spread_pct(over["mps"]), 3)
    yield "without_spread_pct", round(common.spread_pct(turns["plain"]), 3)
    yield "turns", len(turns["plain"])


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of neighbouring turns."""
    return [mine / other for mine, other in zip(ours, others, strict=True)]


def percent_over(over: Sequence[float]) -> float:
    return round(100 * (statistics.median(over) - 1), 3)


def profile_name(cell: Cell) -> str:
    name, batch, mode = cell
    return f"{name}-bs{batch}-{mode}"


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
    parser.add_argument("--rounds", type=int, default=3, help="times each request has its turns")
    parser.add_argument("--turns", type=int, default=6, help="of each server, in a round")
    parser.add_argument("--generations", type=int, default=2, help="times the servers are started")
    parser.add_argument("--turn-s", type=float, default=0.06)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--policy", default="fico", help="of the session of the servers")
    parser.add_argument(
        "--profiles", type=Path, action="append", default=[], help="folders before what ships"
    )
    parser.add_argument(
        "--timeline", type=Path, help="folder for what the server under Fico decides: fico timeline"
    )
    parser.add_argument("--budget-s", type=float, default=480, help="start no round after this")
    parser.add_argument("--output", type=Path, default=common.RESULTS / "overhead.json")
    options = parser.parse_args()
    deadline = time.monotonic() + options.budget_s
    models = options.models.split(",")
    cells = cells_of(models)
    gpu = find_gpu(selected_gpu(None))
    profiles, unprofiled = usable_profiles(map(profile_name, cells), options.profiles, gpu)
    if unprofiled:
        common.note(f"without a profile of their own: {', '.join(unprofiled)}")
    head = common.header([SEED]) | {"policy": options.policy}
    source = random.Random(SEED)
    rows: list[common.Row] = []
    common.end_session()
    try:
        start, memory = measure_start(source, options.starts)
        common.write(options.output, head, rows, start=start, memory=memory)
        common.end_session()
        generations: list[Samples] = []
        for number in range(options.generations):
            if time.monotonic() > deadline:
                break
            common.note(f"generation {number + 1} of {options.generations}")
            left_s = deadline - time.monotonic()
            until = time.monotonic() + left_s / (options.generations - number)
            servers = start_servers(models, options.policy, profiles, options.timeline)
            try:
                generations.append(
                    measure_requests(
                        servers, cells, options.rounds, options.turns, options.turn_s, until, source
                    )
                )
            finally:
                for server in servers.values():
                    server.close()
            rows = request_rows(generations, list(unprofiled))
            common.write(options.output, head, rows, start=start, memory=memory)
            common.end_session()
    finally:
        common.end_session()
    common.show([start], list(start))
    common.show(memory, list(memory[0]))
    columns = ["program", "batch", "mode", "profiled", "without_ms", "mps_ms", "with_ms"]
    percents = ["overhead_pct", "over_mps_pct", "idle_overhead_pct", "idle_over_mps_pct"]
    spreads = ["over_mps_generations_pct", "over_mps_spread_pct", "without_spread_pct", "turns"]
    common.show(rows, [*columns, *percents, *spreads])
    return 0


if __name__ == "__main__":
    sys.exit(main())
