"""Are the results of unmodified programs bit-identical under Fico?

    python benchmarks/transparency.py [--only TEXT,...] [--jobs 8] [--budget-s 460] [--output FILE]

Every program of programs/ runs twice without Fico; if its two results differ, it runs twice again
with deterministic kernels, and is compared so from then on. Then it runs as a tenant, several at
once, or under `static` two at once with 50% each, so that each has half of the units and a
neighbour. `fico-profiled` is `fico` with the profiles that ship, which know the models at batch 8;
so have the rivals. A program that fails is tried once more, alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import common
from fico.bench.served_profiles import usable_profiles
from fico.runtime.gpus import find_gpu, selected_gpu

SEED = 1
MODELS = ("densenet201", "resnet152", "resnet101", "vgg16", "mobilenet_v2")
WAYS = ("compile", "graph", "eager", "side")
PROFILED_BATCH, PROFILED_REQUESTS, PROFILED_WAYS = 8, 24, ("graph", "eager")


@dataclass(frozen=True)
class Mode:
    """How programs run as tenants."""

    policy: str
    jobs: int | None = None  # most programs at once; None: --jobs
    quota: str | None = None
    profiled: bool = False


MODES = {
    "mps": Mode("mps"),
    "static": Mode("static", jobs=2, quota="50%"),
    "shuffle": Mode("shuffle"),
    "jumble": Mode("jumble"),
    "fico": Mode("fico"),
    "fico-profiled": Mode("fico", profiled=True),
    "krisp": Mode("krisp", profiled=True),
    "reef": Mode("reef", profiled=True),
    "orion": Mode("orion", profiled=True),
    "lithos": Mode("lithos", profiled=True),
}
# Fall-backs that mean that work went past Fico or ran outside of the tenant's units. Not the names
# that a library only asks about, nor what stayed confined.
STAYED_CONFINED = frozenset(
    {"uncovered_entries", "extra_partitions", "near_partitions", "units_late"}
)


MOST_RETRIES = 6


@dataclass(frozen=True)
class Program:
    """One program in one of its ways."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    deterministic: bool = False

    def command(self) -> list[str]:
        extra = ["--deterministic"] if self.deterministic else []
        path = str(common.PROGRAMS / self.script)
        return [sys.executable, path, *self.arguments, "--seed", str(SEED), *extra]


@dataclass
class Run:
    """What came of running a program once."""

    report: dict[str, Any] | None
    problem: str | None
    seconds: float
    attempts: int = 1

    @property
    def digest(self) -> str | None:
        return None if self.report is None else str(self.report["digest"])


def programs() -> list[Program]:
    """All of them, the longest first, so that none is left running alone at the end."""
    streams = common.built("streams", "streams.cu")
    per_thread = common.built("streams-per-thread", "streams.cu", "--default-stream", "per-thread")
    compiled: list[Program] = []
    others: list[Program] = []
    for way in WAYS:
        for model in MODELS:
            program = Program(f"{model} {way}", "vision.py", (model, way))
            (compiled if way == "compile" else others).append(program)
    served = ("--batch", str(PROFILED_BATCH), "--requests", str(PROFILED_REQUESTS))
    for way in PROFILED_WAYS:
        for model in MODELS:
            arguments = (model, way, *served)
            others.append(Program(f"{model} {way} bs{PROFILED_BATCH}", "vision.py", arguments))
    return [
        *compiled,
        Program("transformer", "language_model.py"),
        Program("jax", "jax_model.py"),
        *others,
        Program("pytorch profiler", "profiled.py"),
        Program("triton", "triton_kernels.py"),
        Program("cupy", "cupy_arrays.py"),
        Program("cuda c++", "cuda_program.py", (str(streams),)),
        Program("cuda c++ per-thread", "cuda_program.py", (str(per_thread),)),
    ]


def shipped_profiles() -> list[Path]:
    """Those of the models at the batch at which some programs serve them, for this GPU."""
    names = [f"{m}-bs{PROFILED_BATCH}-{way}" for m in MODELS for way in PROFILED_WAYS]
    files, missing = usable_profiles(names, [], find_gpu(selected_gpu(None)))
    for name, reason in missing.items():
        common.note(f"no profile {name}: {reason}")
    return files


@dataclass
class Bench:
    """Runs programs until the time is up."""

    jobs: int
    deadline: float
    profiles: Sequence[Path]
    logs: Path = field(default_factory=lambda: common.BUILD / "logs")

    def all(self, programs: Sequence[Program], mode: str, limit_s: float) -> dict[str, Run]:
        """Run all, and those that fail once more, alone and in a new session."""
        common.end_session()
        begun = time.monotonic()
        jobs = MODES[mode].jobs if mode in MODES else None
        with ThreadPoolExecutor(jobs or self.jobs) as pool:
            each = pool.map(lambda program: self.one(program, mode, limit_s), programs)
            runs = dict(zip((program.name for program in programs), each, strict=True))
        common.end_session()
        failed = [program for program in programs if runs[program.name].problem is not None]
        for program in failed[:MOST_RETRIES]:
            first = runs[program.name]
            if time.monotonic() > self.deadline:
                break
            common.note(f"{mode}: {program.name} again after: {first.problem}")
            again = self.one(program, mode, limit_s)
            again.attempts = 2
            if again.problem is None:
                again.report = {**(again.report or {}), "first_problem": first.problem}
            runs[program.name] = again
            common.end_session()
        spent_s = time.monotonic() - begun
        failures = sum(run.problem is not None for run in runs.values())
        common.note(f"{mode}: {len(runs)} programs in {spent_s:.0f} s, {failures} failed")
        return runs

    def one(self, program: Program, mode: str, limit_s: float) -> Run:
        """Run one program once; a failure is a result too."""
        begun = time.monotonic()
        limit_s = min(limit_s, self.deadline + 30 - begun)
        if begun > self.deadline:
            return Run(None, "not run: the time was up", 0.0)
        command = program.command()
        if mode in MODES:
            how = MODES[mode]
            command = common.as_tenant(
                command,
                name=program.name.replace(" ", "-").replace("+", "p"),
                quota=how.quota,
                policy=how.policy,
                profiles=self.profiles if how.profiled else (),
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{program.name.replace(' ', '-')}.{mode}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=common.environment(TORCHINDUCTOR_COMPILE_THREADS="4"),
                start_new_session=True,
            )
            try:
                printed, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                common.end_group(process)
                return Run(None, f"no end within {limit_s:.0f} s", time.monotonic() - begun)
        return _judged(process.returncode, printed.decode(errors="replace"), log, begun)


def _judged(code: int, printed: str, log: Path, begun: float) -> Run:
    seconds = time.monotonic() - begun
    last = (printed.strip().splitlines() or [""])[-1]
    if code == 0 and last.startswith("{"):
        return Run(json.loads(last), None, seconds)
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return Run(None, f"exit code {code}: {' | '.join(said[-2:])[-300:]}", seconds)


def row_of(program: Program, mode: str, run: Run, expected: str | None) -> common.Row:
    """One row of the result file."""
    report = run.report or {}
    row: common.Row = {
        "program": program.name,
        "mode": mode,
        "identical": None if run.digest is None or expected is None else run.digest == expected,
        "launches_seen": None,
        "launches_uncovered": None,
        "fall_backs": {},
        "deterministic_kernels": program.deterministic,
        "attempts": run.attempts,
        "seconds": round(run.seconds, 1),
        "digest": run.digest,
        "problem": run.problem,
    }
    for key in ("deterministic_note", "first_problem", "profiled_kernels", "launches_meanwhile"):
        if report.get(key) is not None:
            row[key] = report[key]
    tenant = report.get("tenant")
    if tenant is not None:
        counters: dict[str, int] = tenant["counters"]
        falls = {n: counters[n] for n, (falls, _) in _meanings().items() if falls and counters[n]}
        row["launches_seen"] = counters["launches"] + counters["graph_launches"]
        row["launches_uncovered"] = sum(
            count for name, count in falls.items() if name not in STAYED_CONFINED
        )
        row |= {"fall_backs": falls, "counters": counters, "notes": tenant["notes"]}
        row |= {"units": tenant["units"], "sms": tenant["sms"]}
    elif mode in MODES and run.problem is None:
        row["problem"] = "it was no tenant: its row of the arena was not found"
    return row


def _meanings() -> dict[str, tuple[bool, str]]:
    from fico import _native

    return _native.counter_meanings()


def plain(
    bench: Bench, chosen: Sequence[Program]
) -> tuple[list[Program], dict[str, Run], list[common.Row]]:
    """The programs as they will be compared, their runs without Fico, and the rows of these."""
    first = bench.all(chosen, "plain", 280)
    second = bench.all(chosen, "plain again", 120)
    compared = {program.name: program for program in chosen}
    rows = [row_of(p, "plain", second[p.name], first[p.name].digest) for p in chosen]
    strict = [
        replace(p, deterministic=True) for p in chosen if _differ(first[p.name], second[p.name])
    ]
    if strict:
        common.note(f"not deterministic by themselves: {', '.join(p.name for p in strict)}")
        once = bench.all(strict, "plain", 280)
        twice = bench.all(strict, "plain again", 120)
        compared |= {program.name: program for program in strict}
        rows += [row_of(p, "plain", twice[p.name], once[p.name].digest) for p in strict]
        first |= once
    return list(compared.values()), first, rows


def _differ(first: Run, second: Run) -> bool:
    return None not in (first.digest, second.digest) and first.digest != second.digest


def short(rows: Iterable[common.Row]) -> list[common.Row]:
    """A line per program: `yes` or `NO` for each mode, launches seen and not covered."""
    lines: dict[str, common.Row] = {}
    for row in rows:
        line = lines.setdefault(row["program"], {"program": row["program"]})
        word = {True: "yes", False: "NO", None: "failed"}[row["identical"]]
        mode = row["mode"]
        if mode == "plain" and row["deterministic_kernels"]:
            mode = "strict"
        seen, past = row["launches_seen"], row["launches_uncovered"]
        line[mode] = word if seen is None else f"{word} {seen}/{past}"
    return list(lines.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="programs with one of these in their names")
    parser.add_argument("--modes", default=",".join(MODES), help="of the tenants")
    parser.add_argument("--jobs", type=int, default=8, help="programs at once")
    parser.add_argument("--budget-s", type=float, default=460, help="start nothing after this")
    parser.add_argument("--output", type=Path, default=common.RESULTS / "transparency.json")
    options = parser.parse_args()
    deadline = time.monotonic() + options.budget_s
    bench = Bench(options.jobs, deadline, shipped_profiles())
    texts = options.only.split(",")
    chosen = [each for each in programs() if any(text in each.name for text in texts)]
    head = common.header([SEED])
    rows: list[common.Row] = []
    try:
        compared, expected, rows = plain(bench, chosen)
        common.write(options.output, head, rows)
        for mode in options.modes.split(","):
            runs = bench.all(compared, mode, 120)
            rows += [row_of(p, mode, runs[p.name], expected[p.name].digest) for p in compared]
            common.write(options.output, head, rows)
    finally:
        common.end_session()
    for row in rows:
        if row["problem"] is not None:
            print(f"{row['program']}, {row['mode']}: {row['problem'][:160]}")
        elif row["mode"] == "shuffle" and row["fall_backs"]:
            print(f"{row['program']}: {row['fall_backs']} {row['notes']}")
    print("identical, launches seen/not covered; strict: with deterministic kernels")
    columns = ["program", "plain", "strict", *options.modes.split(",")]
    common.show(short(rows), columns)
    tenants = [row for row in rows if row["mode"] in MODES]
    return 0 if all(row["identical"] for row in tenants) else 1


if __name__ == "__main__":
    sys.exit(main())
