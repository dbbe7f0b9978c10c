"""What tracing a program costs it, and which way of tracing costs how much.

    python benchmarks/tracing_cost.py [--output FILE] [--budget-s 110] [MODEL:BATCH:MODE...]

Each program runs as `fico profile` runs it, alone, and is traced in one window after another, each
in another way; what is chosen when CUPTI comes into a process has a process of its own. `slower` is
against the same process on as many units before CUPTI came into it, or, where it was there from the
start, against the program's first process. A request's period is counted over all of a window,
from its launches; its span is what its graph took on the GPU, between its records; `between` is the
time from one to the next. The most urgent processes come first; none begins when the time is up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import common
from fico.cli.signals import ending_by_signal
from fico.profiling.collector import Option, TraceFile
from fico.profiling.measure import calls_per_request
from fico.profiling.program import Profiled
from fico.runtime.errors import FicoError
from fico.runtime.gpus import selected_gpu

PROGRAMS = ("mobilenet_v2:1:graph", "resnet152:8:graph", "resnet152:8:eager")
START_WITHIN_S = 60.0
COUNTED_S = 0.4
SETTLE_S = 0.05
PROCESS_S = 14.0
"""What a process takes, about."""

WINDOWS = {
    "nodes": Option.NONE,
    "nodes, second window": Option.NONE,
    "nodes, fresh buffers": Option.FRESH_BUFFERS,
    "nodes, kernels only": Option.KERNELS_ONLY,
    "graphs as a whole": Option.GRAPHS,
}
"""In the first process, in this order; then half of the units, then what may harm the process."""
LIFETIMES = {
    "CUPTI from the start": Option.ATTACHED,
    "times in host memory": Option.PINNED,
    "always on": Option.ALWAYS_ON,
}


@dataclass
class Results:
    """Rows, written as they come."""

    output: Path
    head: dict[str, object]
    rows: list[common.Row] = field(default_factory=list)
    untraced_us: dict[str, float] = field(default_factory=dict)
    """Period of each program on all units before CUPTI came into it."""

    def add(self, row: common.Row) -> None:
        self.rows.append(row)
        said = row.get("said") or f"{row['period_us']:.1f} us, {row['slower_pct']:+.1f}%"
        common.note(f"{row['program']} {row['way']}: {said}")
        common.write(self.output, self.head, self.rows)


def spans(records: NDArray[np.void]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each launch of a graph, when it began and ended on the GPU, µs; the first and the last
    may be cut and are left out."""
    rows = records[(records["graph_id"] != 0) & (records["end_ns"] > records["start_ns"])]
    rows = rows[np.argsort(rows["correlation"], kind="stable")]
    _, begins = np.unique(rows["correlation"], return_index=True)
    if len(begins) < 4:
        return np.zeros(0), np.zeros(0)
    starts = np.minimum.reduceat(rows["start_ns"], begins) / 1e3
    ends = np.maximum.reduceat(rows["end_ns"], begins) / 1e3
    return starts[1:-1], ends[1:-1]


@dataclass(frozen=True)
class Counted:
    """How fast a program was in one window."""

    row: common.Row
    calls_per_s: float
    units: int
    is_baseline: bool


class Process:
    """One process of a program, and what is measured of it."""

    def __init__(self, name: str, options: Option, results: Results, gpu: str) -> None:
        self._name = name
        self._results = results
        self._calls = 1 if name.endswith("graph") else 0
        """A request's launches; 0: not known yet, and rows wait for it."""
        self._nodes = 0
        """Of its graph; 0: not known yet."""
        self._waiting: list[Counted] = []
        self._trace = TraceFile(options=options)
        command = ["python3", "closed_loop.py", *name.split(":")]
        try:
            self._program = Profiled(command, gpu, self._trace)
        except BaseException:
            self._trace.close()
            raise
        self.units = len(self._program.session.gpu.sms_per_unit)
        self._confined = self.units
        self._untraced_us = {self.units: results.untraced_us.get(name, float("nan"))}

    def start(self) -> None:
        """Wait until it serves evenly."""
        self._program.await_launches(START_WITHIN_S)
        self.confine(self.units)
        last = 0.0
        for _ in range(20):
            pace = self._program.pace(0.25)
            if abs(pace - last) < 0.05 * pace:
                break
            last = pace

    def confine(self, units: int) -> None:
        self._program.confine(units)
        self._confined = units
        time.sleep(SETTLE_S)

    def count(self, way: str, *, is_baseline: bool = False) -> None:
        """A row of a time without records."""
        pace = self._program.pace(COUNTED_S)
        self._add(Counted({"way": way}, pace, self._confined, is_baseline))

    def record(self, way: str, options: Option) -> None:
        """A row of a window."""
        self._trace.begin(options)
        pace = self._program.pace(COUNTED_S)
        records, dropped = self._trace.end()
        row: common.Row = {"way": way, "records": len(records), "dropped": dropped}
        starts_us, ends_us = spans(records)
        if len(starts_us):
            row["span_us"] = float(np.median(ends_us - starts_us))
            row["between_us"] = float(np.median(starts_us[1:] - ends_us[:-1]))
            row["longest_between_us"] = float((starts_us[1:] - ends_us[:-1]).max())
            self._nodes = max(self._nodes, round(len(records) / (len(starts_us) + 2)))
        if not self._calls and len(records):
            self._calls = calls_per_request(records)
        self._add(Counted(row, pace, self._confined, False))
        time.sleep(SETTLE_S)

    def _add(self, counted: Counted) -> None:
        self._waiting.append(counted)
        if self._calls:
            for one in self._waiting:
                self._results.add(self._row(one))
            self._waiting.clear()

    def _row(self, counted: Counted) -> common.Row:
        period_us = 1e6 * self._calls / counted.calls_per_s
        if counted.is_baseline:
            self._untraced_us[counted.units] = period_us
            if counted.units == self.units:
                self._results.untraced_us.setdefault(self._name, period_us)
        untraced_us = self._untraced_us.get(counted.units, float("nan"))
        row: common.Row = {
            "program": self._name,
            "units": counted.units,
            "period_us": period_us,
            "slower_pct": 100 * (period_us / untraced_us - 1),
        }
        launches = max(self._calls, self._nodes)
        if launches > 1:
            row["us_a_launch"] = (period_us - untraced_us) / launches
        return row | counted.row

    def close(self) -> None:
        try:
            self._program.close()
        finally:
            self._trace.close()


def in_one_process(process: Process, is_graph: bool) -> None:
    """All ways that can follow each other."""
    half = process.units // 2
    process.count("before CUPTI", is_baseline=True)
    process.confine(half)
    process.count("before CUPTI", is_baseline=True)
    process.confine(process.units)
    for number, (way, options) in enumerate(WINDOWS.items()):
        if is_graph or options != Option.GRAPHS:
            process.record(way, options)
        if number == 0:
            process.count("CUPTI idle")
    process.confine(half)
    process.count("CUPTI idle")
    process.record("nodes", Option.NONE)
    if is_graph:
        process.record("graphs as a whole", Option.GRAPHS)
    process.confine(process.units)
    process.record("nodes, then CUPTI leaves", Option.DETACH)
    process.count("after it has left")
    process.record("nodes, CUPTI comes again", Option.NONE)


def one(name: str, way: str, results: Results, gpu: str) -> None:
    """Measure one process; a row that says why where it can't be."""
    options = LIFETIMES.get(way, Option.NONE)
    process = None
    try:
        process = Process(name, options, results, gpu)
        process.start()
        if way in LIFETIMES:
            process.count(f"{way}, idle")
            process.record(f"{way}, nodes", Option.NONE)
        else:
            in_one_process(process, name.endswith("graph"))
    except FicoError as error:
        results.add({"program": name, "way": way or "one process", "said": str(error)})
    finally:
        if process is not None:
            process.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=common.RESULTS / "tracing_cost.json")
    parser.add_argument("--budget-s", type=float, default=110, help="begin nothing after this")
    parser.add_argument("programs", nargs="*", default=PROGRAMS, metavar="MODEL:BATCH:MODE")
    options = parser.parse_args()
    deadline = time.monotonic() + options.budget_s
    output = options.output.resolve()
    results = Results(output, common.header([]))
    os.environ |= common.environment()
    os.chdir(common.PROGRAMS)
    gpu = selected_gpu(None)
    turns = [(name, "") for name in options.programs]
    turns += [(name, way) for way in LIFETIMES for name in options.programs]
    with ending_by_signal():
        for name, way in turns:
            if time.monotonic() + PROCESS_S > deadline:
                common.note(f"the time is up before {name} {way}")
                break
            one(name, way, results, gpu)
    columns = ["program", "way", "units", "period_us", "slower_pct", "us_a_launch", "span_us"]
    columns += ["between_us", "longest_between_us", "records", "dropped", "said"]
    common.show(results.rows, columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
