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
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fico.profiling.collector import TraceFile
from fico.profiling.cupti import find_cupti
from fico.profiling.neighbour import NeighbourProcess
from fico.records.profile import NEIGHBOURS, Neighbour
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED
from fico.runtime.session import Session, end_session, known_session

NAME = "fico-profiled"
_STARTS_WITHIN_S = 300.0
_POLL_S = 0.0005
_SETTLE_S = 0.02
_DRAIN_S = 0.3
_SHORTEST_S = 0.15
_LONGEST_S = 2.0
_WANTED_REQUESTS = 12
_STEADY_WITHIN_S = 120.0
_STEADY_CHANGE = 0.1
_PROBE_S = 0.25

Progress = Callable[[str, float], None]
"""Takes what is measured now, and the part of all that is done."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured in one configuration."""

    units: int
    neighbour: Neighbour | None
    records: NDArray[np.void]
    """As collector.RECORD; times in ns, `name` an offset."""
    dropped: int
    calls_per_s: float
    """Launches of kernels and graphs a second while nothing was traced; NaN: there were too few."""
    traced_calls_per_s: float
    neighbour_rate: float
    """Work of the neighbour a second, beside the untraced program; NaN without one."""


@dataclass(slots=True)
class Measurement:
    """All windows of one program."""

    session: Session
    windows: list[Window] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Mangled names by their offset."""
    neighbour_alone: dict[Neighbour, float] = field(default_factory=dict)
    """Work of each neighbour a second beside an idle part of the GPU."""


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
        return _Run(program, trace, gpu, progress).run()
    finally:
        if program is not None:
            program.close()
        trace.close()


class _Run:
    def __init__(self, program: Profiled, trace: TraceFile, gpu: str, progress: Progress) -> None:
        self._program = program
        self._trace = trace
        self._gpu = gpu
        self._progress = progress
        self._measurement = Measurement(program.session)
        self._sms = program.session.gpu.sms_per_unit
        self._calls_per_request = 1
        self._calls_per_s = float("nan")
        """On all units."""

    def run(self) -> Measurement:
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
        names = self._measurement.names
        for window in self._measurement.windows:
            for offset in map(int, np.unique(window.records["name"])):
                names.setdefault(offset, self._trace.name(offset))
        return self._measurement

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
        neighbour = NeighbourProcess(
            self._gpu, len(others), sum(others), self._program.session.gpu.emulated
        )
        try:
            for number, kind in enumerate(NEIGHBOURS):
                what = f"beside a neighbour: {kind.resource}, {kind.strength:.0%}"
                self._progress(what, (done + number) / steps)
                neighbour.run(kind)
                self._measure(units, kind, neighbour)
            self._progress("the neighbours by themselves", (steps - 1) / steps)
            with self._program.paused():
                for kind in NEIGHBOURS:
                    neighbour.run(kind)
                    time.sleep(_SETTLE_S)
                    neighbour.mark()
                    time.sleep(_SHORTEST_S)
                    self._measurement.neighbour_alone[kind] = neighbour.rate()
        finally:
            neighbour.close()

    def _measure(self, units: int, kind: Neighbour | None, beside: NeighbourProcess | None) -> None:
        """One window: settle, count, trace."""
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
        self._measurement.windows.append(
            Window(units, kind, records, dropped, calls_per_s, traced_calls_per_s, rate)
        )
        if len(self._measurement.windows) == 1:
            self._calls_per_request = calls_per_request(records)
            self._calls_per_s = calls_per_s

    def _window_s(self, units: int) -> float:
        """Time for the wanted number of requests, were they as slow as the SMs are few."""
        request_s = self._calls_per_request / self._calls_per_s
        if not request_s > 0:
            return _SHORTEST_S
        slower = sum(self._sms) / sum(self._sms[:units])
        return min(max(_SHORTEST_S, _WANTED_REQUESTS * request_s * slower), _LONGEST_S)


def calls_per_request(records: NDArray[np.void]) -> int:
    """After how many launches of kernels and graphs the program repeats itself; 1 if it does not.

    Only a guide for how long to measure: `fico.profiling.requests` finds the requests.
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
            return period
    return 1
