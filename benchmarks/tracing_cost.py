"""What tracing a program costs it, and what is left of that while CUPTI is idle or has left.

    python benchmarks/tracing_cost.py [--output FILE] [--budget-s 110] [MODEL:BATCH:MODE...]

Each program runs as `fico profile` runs it, alone, and is counted and traced in one window after
another. `slower` is against the same process on as many units before CUPTI came into it. A
request's period is counted over all of a window, from its launches; its span is what its graph took
on the GPU, between its records; `between` is the time from one to the next. No program begins when
the time is up.
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
from fico.profiling.collector import TraceFile
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


@dataclass
class Results:
    """Rows, written as they come."""

    output: Path
    head: dict[str, object]
    rows: list[common.Row] = field(default_factory=list)

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

    def __init__(self, name: str, results: Results, gpu: str) -> None:
        self._name = name
        self._results = results
        self._calls = 1 if name.endswith("graph") else 0
        """A request's launches; 0: not known yet, and rows wait for it."""
        self._nodes = 0
        """Of its graph; 0: not known yet."""
        self._waiting: list[Counted] = []
        self._trace = TraceFile()
        command = ["python3", "closed_loop.py", *name.split(":")]
        try:
            self._program = Profiled(command, gpu, self._trace)
        except BaseException:
            self._trace.close()
            raise
        self.units = len(self._program.session.gpu.sms_per_unit)
        self._confined = self.units
        self._untraced_us: dict[int, float] = {}

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

    def record(self, way: str, *, detach: bool = False) -> None:
        """A row of a window."""
        self._trace.begin()
        pace = self._program.pace(COUNTED_S)
        records, dropped = self._trace.end(detach=detach)
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
        untraced_us = self._untraced_us[counted.units]
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

    def measure(self) -> None:
        """All ways, in the order in which they can follow each other."""
        half = self.units // 2
        self.count("before CUPTI", is_baseline=True)
        self.confine(half)
        self.count("before CUPTI", is_baseline=True)
        self.confine(self.units)
        self.record("nodes")
        self.count("CUPTI idle")
        self.record("nodes, second window")
        self.confine(half)
        self.count("CUPTI idle")
        self.record("nodes")
        self.confine(self.units)
        self.record("nodes, then CUPTI leaves", detach=True)
        self.count("after it has left")
        self.record("nodes, CUPTI comes again")

    def close(self) -> None:
        try:
            self._program.close()
        finally:
            self._trace.close()


def one(name: str, results: Results, gpu: str) -> None:
    """Measure one program; a row that says why where it can't be."""
    process = None
    try:
        process = Process(name, results, gpu)
        process.start()
        process.measure()
    except FicoError as error:
        results.add({"program": name, "way": "one process", "said": str(error)})
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
    with ending_by_signal():
        for name in options.programs:
            if time.monotonic() + PROCESS_S > deadline:
                common.note(f"the time is up before {name}")
                break
            one(name, results, gpu)
    columns = ["program", "way", "units", "period_us", "slower_pct", "us_a_launch", "span_us"]
    columns += ["between_us", "longest_between_us", "records", "dropped", "said"]
    common.show(results.rows, columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
