"""Measuring a program: it runs as a tenant, unmodified, on partition after partition.

On each partition its launches are counted for a while with nothing traced, which gives its pace,
and then traced. The same on half of the units beside each neighbour on the others. Nothing is
replayed: all launches are the program's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fico.profiling.collector import CAPACITY, TraceFile
from fico.profiling.cupti import find_cupti
from fico.profiling.neighbour import NeighbourProcess
from fico.profiling.records import RAW, Measurement, NeighbourRates, Pace, Window
from fico.records.profile import NEIGHBOURS, Neighbour
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED
from fico.runtime.session import end_session, known_session

NAME = "fico-profiled"
_STARTS_WITHIN_S = 300.0
_POLL_S = 0.0005
_SETTLE_S = 0.02
_DRAIN_S = 0.3
_SHORTEST_S = 0.12
_LONGEST_S = 1.5
_WANTED_REQUESTS = 10
_MOST_RECORDS = 0.7 * CAPACITY
"""Some configurations are faster than the first one, which says how fast records come."""
_STEADY_WITHIN_S = 120.0
_STEADY_CHANGE = 0.1
_PROBE_S = 0.25

Progress = Callable[[str, float], None]
"""Takes what is measured now, and the part of all that is done."""


def cuda_version(emulated: bool) -> str:
    """The newest CUDA that the driver takes, such as `13.0`."""
    if emulated:
        return EMULATED
    import pynvml

    pynvml.nvmlInit()
    number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
    return f"{number // 1000}.{number % 1000 // 10}"


def partition_sizes(unit_count: int) -> tuple[int, ...]:
    """Sizes to measure, all units last: dense where curves bend, which is at few units."""
    wanted = (1, 2, 3, 4, 6, 8, 10, 12, 14)
    scaled = {max(1, round(size * unit_count / 16)) for size in wanted}
    return (*sorted(size for size in scaled if size < unit_count), unit_count)


class Profiled:
    """The program that is profiled, as the only tenant of a session of its own."""

    def __init__(self, command: Sequence[str], gpu: str, trace: TraceFile) -> None:
        """Start it; FicoError if the GPU has a session already."""
        if known_session(gpu) is not None:
            raise FicoError(
                f"GPU {gpu} has a session: a program is profiled alone",
                "end the session with 'fico down' first",
            )
        self._gpu = gpu
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program
        fico = [sys.executable, "-m", "fico.cli", "run", "--gpu", gpu, "--policy", "static"]
        self._process = subprocess.Popen(
            [*fico, "--name", NAME, "--", *command],
            env={
                **os.environ,
                **trace.environment(None if gpu == EMULATED else find_cupti(command)),
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while (session := known_session(gpu)) is None or not session.arena_path.exists():
            self.check()
            if time.monotonic() > deadline:
                raise FicoError("the session did not start within 60 s")
            time.sleep(0.01)
        self.session = session
        self.arena = session.arena()

    def check(self) -> None:
        """FicoError, with its last words, if the program has ended."""
        if self._process.poll() is None:
            return
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        raise FicoError(
            f"the program ended (exit code {self._process.returncode}) before it was measured: "
            f"{lines[-1] if lines else 'it printed nothing'}",
            "let it serve requests until it is stopped",
        )

    def calls(self) -> int:
        """Launches of kernels and graphs so far."""
        for row in self.arena.tenants():
            if row["name"] == NAME:
                counters = row["counters"]
                return counters["launches"] + counters["graph_launches"]
        self.check()
        return 0

    def await_calls(self, more: int, within_s: float) -> bool:
        """Wait until there have been so many more; False if they do not come in time."""
        goal = self.calls() + more
        deadline = time.monotonic() + within_s
        while self.calls() < goal:
            if time.monotonic() > deadline:
                self.check()
                return False
            time.sleep(_POLL_S)
        return True

    def pace(self, seconds: float) -> float:
        """Calls per second over this time, from the first change of the count to the last."""
        count = self.calls()
        until = time.monotonic() + seconds
        first: tuple[float, int] | None = None
        last = (0.0, 0)
        while (now := time.monotonic()) < until:
            new = self.calls()
            if new != count:
                count = new
                last = (now, count)
                first = first or last
            time.sleep(_POLL_S)
        self.check()
        if first is None or last[1] == first[1]:
            return float("nan")
        return (last[1] - first[1]) / (last[0] - first[0])

    def confine(self, units: int) -> None:
        """Give it so many units."""
        self.arena.update(NAME, quota_units=units)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop its processes and let what they have launched run out."""
        pids = next((row["processes"] for row in self.arena.tenants() if row["name"] == NAME), [])
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(_DRAIN_S)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End the program and the session."""
        session = known_session(self._gpu)
        if session is not None:
            end_session(session, force=True)
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._log.close()


def measure(command: Sequence[str], gpu: str, progress: Progress) -> Measurement:
    """Run the program and measure it. FicoError if it can't be, with nothing left behind."""
    trace = TraceFile()
    program: Profiled | None = None
    try:
        program = Profiled(command, gpu, trace)
        run = _Run(program, trace, gpu, progress)
        run.measure_all()
        return Measurement(
            gpu=program.session.gpu,
            cuda=cuda_version(program.session.gpu.emulated),
            program=command[0],
            arguments=tuple(command[1:]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            windows=run.named_windows(),
            neighbours=run.rates,
            paces=tuple(run.paces),
        )
    finally:
        if program is not None:
            program.close()
        trace.close()


@dataclass(frozen=True, slots=True)
class _Window:
    """What the collector recorded in one configuration."""

    units: int
    neighbour: Neighbour | None
    records: NDArray[np.void]
    """As collector.RECORD; `name` is an offset."""


class _Run:
    def __init__(self, program: Profiled, trace: TraceFile, gpu: str, progress: Progress) -> None:
        self._program = program
        self._trace = trace
        self._gpu = gpu
        self._progress = progress
        self.paces: list[Pace] = []
        self.rates: dict[Neighbour, NeighbourRates] = {}
        self._windows: list[_Window] = []
        self._sms = program.session.gpu.sms_per_unit
        self._calls_per_request = 1
        self._calls_per_s = float("nan")
        self._records_per_s = 0.0
        """Both on all units."""

    def measure_all(self) -> None:
        """Measure every configuration."""
        self._progress("waiting for the program's first requests", 0.0)
        self._await_steady()
        count = len(self._sms)
        # All units first and last: a drift of the machine's speed shows.
        sizes = (*reversed(partition_sizes(count)), count)
        steps = len(sizes) + len(NEIGHBOURS) + 1
        for number, units in enumerate(sizes):
            self._progress(f"on {units} of {count} units", number / steps)
            self._program.confine(units)
            self._measure(units, None, None)
        self._beside_neighbours(count // 2, len(sizes), steps)
        self._progress("measured", 1.0)

    def named_windows(self) -> tuple[Window, ...]:
        """What was recorded, as the analysis takes it."""
        offsets = np.unique(np.concatenate([window.records["name"] for window in self._windows]))
        names = tuple(self._trace.name(int(offset)) for offset in offsets)
        windows = []
        for window in self._windows:
            # What runs when recording ends has no end.
            whole = window.records[window.records["end_ns"] > window.records["start_ns"]]
            operations = np.zeros(len(whole), RAW)
            for field_name in RAW.names or ():
                operations[field_name] = whole[field_name]
            operations["name"] = np.searchsorted(offsets, whole["name"])
            windows.append(Window(operations, names, window.units, window.neighbour))
        return tuple(windows)

    def _await_steady(self) -> None:
        """Wait until the program launches at an even pace: what it does once has gone by."""
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._trace.is_ready():
            self._program.check()
            if time.monotonic() > deadline:
                raise FicoError(
                    f"the program has not used the GPU within {_STARTS_WITHIN_S:g} s",
                    "profile the process that launches kernels",
                )
            time.sleep(0.01)
        paces: list[float] = []
        deadline = time.monotonic() + _STEADY_WITHIN_S
        while time.monotonic() < deadline:
            paces.append(self._program.pace(_PROBE_S))
            last = paces[-3:]
            if len(last) == 3 and max(last) - min(last) <= _STEADY_CHANGE * max(last):
                return
        # Uneven for good, as where requests arrive at random: it is traced as it is.

    def _beside_neighbours(self, units: int, done: int, steps: int) -> None:
        others = self._sms[units:]
        self._program.confine(units)
        emulated = self._program.session.gpu.emulated
        neighbour = NeighbourProcess(self._gpu, len(others), sum(others), emulated)
        beside: dict[Neighbour, float] = {}
        try:
            for number, kind in enumerate(NEIGHBOURS):
                what = f"beside a neighbour: {kind.resource}, {kind.strength:.0%}"
                self._progress(what, (done + number) / steps)
                neighbour.run(kind)
                beside[kind] = self._measure(units, kind, neighbour)
            self._progress("the neighbours by themselves", (steps - 1) / steps)
            with self._program.paused():
                for kind in NEIGHBOURS:
                    neighbour.run(kind)
                    time.sleep(_SETTLE_S)
                    neighbour.mark()
                    time.sleep(_SHORTEST_S)
                    self.rates[kind] = NeighbourRates(neighbour.rate(), beside[kind])
        finally:
            neighbour.close()

    def _measure(
        self, units: int, kind: Neighbour | None, beside: NeighbourProcess | None
    ) -> float:
        """One window: settle, count, trace; gives the neighbour's work per second meanwhile."""
        program = self._program
        program.await_calls(2 * self._calls_per_request, _LONGEST_S)
        time.sleep(_SETTLE_S)
        seconds = self._window_s(units)
        if beside is not None:
            beside.mark()
        calls_per_s = program.pace(seconds)
        rate = beside.rate() if beside is not None else float("nan")
        self._trace.begin()
        traced_calls_per_s = program.pace(seconds)
        records, dropped = self._trace.end()
        if dropped:
            raise FicoError(
                f"{dropped} launches of {seconds:g} s were lost for want of room",
                "profile a program that launches less, or one model at a time",
            )
        self._windows.append(_Window(units, kind, records))
        self.paces.append(Pace(calls_per_s, traced_calls_per_s))
        if len(self._windows) == 1:
            self._calls_per_request = calls_per_request(records)
            self._calls_per_s = calls_per_s
            self._records_per_s = len(records) / seconds
        return rate

    def _window_s(self, units: int) -> float:
        """Time for the wanted number of requests, were they as slow as the SMs are few."""
        request_s = self._calls_per_request / self._calls_per_s
        if not request_s > 0:
            return _SHORTEST_S
        slower = sum(self._sms) / sum(self._sms[:units])
        longest_s = min(_LONGEST_S, _MOST_RECORDS / max(self._records_per_s, 1.0))
        return min(max(_SHORTEST_S, _WANTED_REQUESTS * request_s * slower), longest_s)


def calls_per_request(records: NDArray[np.void]) -> int:
    """After how many launches of kernels and graphs the program has made each of them again.

    1 if it does not repeat itself. Only a guide for how long to measure: `fico.profiling.requests`
    finds the requests.
    """
    kernels = np.sort(records[records["kind"] == 0], order=("correlation", "start_ns"))
    if len(kernels) < 4:
        return 1
    shape = kernels["name"].astype(np.uint64)
    for field_name in ("grid", "block"):
        for axis in range(3):
            shape = shape * np.uint64(1_000_003) + kernels[field_name][:, axis]
    _, begins = np.unique(kernels["correlation"], return_index=True)
    # The nodes of a graph may start in another order each time: a sum does not see it.
    calls = np.add.reduceat(shape, begins)
    for period in range(1, len(calls) // 2 + 1):
        if np.mean(calls[period:] == calls[:-period]) > 0.9:
            break
    else:
        return 1
    # A rare kind (a decoder's prefills) decides; the first and the last may be cut off.
    inner = calls[1:-1]
    _, first, counts = np.unique(inner, return_index=True, return_counts=True)
    last = len(inner) - 1 - np.unique(inner[::-1], return_index=True)[1]
    apart = np.where(counts > 1, (last - first) / np.maximum(counts - 1, 1), len(calls))
    return max(period, round(float(apart.max())))
