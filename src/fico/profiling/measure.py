"""Measuring a program: it runs as a tenant, unmodified, on partition after partition.

On each partition its launches are counted for a while with nothing traced, which gives its pace,
and then traced. The same on half of the units beside each neighbour on the others. Nothing is
replayed: all launches are the program's own.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fico.profiling.collector import CAPACITY, TraceFile
from fico.profiling.neighbour import NeighbourProcess
from fico.profiling.program import Profiled
from fico.profiling.records import KERNEL, RAW, Measurement, NeighbourRates, Pace, Window
from fico.profiling.requests import NoRequestsError, find_requests
from fico.records.profile import NEIGHBOURS, Neighbour
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED

START_WITHIN_S = 300.0
_SETTLE_S = 0.02
_SHORTEST_S = 0.12
_LONGEST_S = 1.5
_WANTED_REQUESTS = 10
_MOST_RECORDS = 0.7 * CAPACITY
"""Some configurations are faster than the first one, which says how fast records come."""
_STEADY_WITHIN_S = 120.0
_STEADY_CHANGE = 0.1
_PROBE_S = 0.25
_MOST_CALLS = 20_000
"""Looked at to find how often a program repeats itself."""

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


def measure(
    command: Sequence[str], gpu: str, progress: Progress, start_within_s: float = START_WITHIN_S
) -> Measurement:
    """Run the program and measure it. FicoError if it can't be, with nothing left behind.

    It must launch something on the GPU within `start_within_s`.
    """
    with contextlib.ExitStack() as to_close:
        trace = TraceFile()
        to_close.callback(_undisturbed, trace.close)
        program = Profiled(command, gpu, trace)
        to_close.callback(_undisturbed, program.close)
        cuda = cuda_version(program.session.gpu.emulated)
        run = _Run(program, trace, gpu, progress)
        run.measure_all(start_within_s)
        return Measurement(
            gpu=program.session.gpu,
            cuda=cuda,
            program=command[0],
            arguments=tuple(command[1:]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            windows=run.named_windows(),
            neighbours=run.rates,
            paces=tuple(run.paces),
        )


def _undisturbed(close: Callable[[], None]) -> None:
    """Take something away; who asks us to end meanwhile does not leave half of it."""
    if threading.current_thread() is not threading.main_thread():
        close()
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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

    def measure_all(self, start_within_s: float) -> None:
        """Measure every configuration."""
        self._progress("waiting for the program's first requests", 0.0)
        self._program.await_launches(start_within_s)
        self._await_steady(min(start_within_s, _STEADY_WITHIN_S))
        self._program.check_alone()
        count = len(self._sms)
        # All units first and last: a drift of the machine's speed shows.
        sizes = (*reversed(partition_sizes(count)), count)
        steps = len(sizes) + len(NEIGHBOURS) + 1
        for number, units in enumerate(sizes):
            self._progress(f"on {units} of {count} units", number / steps)
            self._program.confine(units)
            self._measure(units, None, None)
            if number == 0:
                self._check_requests()
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

    def _await_steady(self, within_s: float) -> None:
        """Wait until the program launches at an even pace: what it does once has gone by."""
        paces: list[float] = []
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            paces.append(self._program.pace(_PROBE_S))
            last = paces[-3:]
            if len(last) == 3 and max(last) - min(last) <= _STEADY_CHANGE * max(last):
                return
        # Uneven for good, as where requests arrive at random: it is traced as it is.

    def _check_requests(self) -> None:
        """NoRequestsError now, and not when all has been measured, if the program does not repeat
        itself even in the longest window."""
        try:
            find_requests(self.named_windows())
        except NoRequestsError:
            self._windows.clear()
            self.paces.clear()
            self._measure(len(self._sms), None, None, at_least_s=_LONGEST_S)
            find_requests(self.named_windows())

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
                    alone = neighbour.rate()
                    if not alone > 0:
                        raise FicoError(
                            f"the {kind.resource} neighbour got nothing done by itself",
                            "measure again when the machine is less busy",
                        )
                    self.rates[kind] = NeighbourRates(alone, beside[kind])
        finally:
            neighbour.close()

    def _measure(
        self,
        units: int,
        kind: Neighbour | None,
        beside: NeighbourProcess | None,
        at_least_s: float = _SHORTEST_S,
    ) -> float:
        """One window: settle, count, trace; gives the neighbour's work per second meanwhile."""
        program = self._program
        program.await_calls(2 * self._calls_per_request, _LONGEST_S)
        time.sleep(_SETTLE_S)
        seconds = max(self._window_s(units), at_least_s)
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
    kernels = np.sort(records[records["kind"] == KERNEL], order=("correlation", "start_ns"))
    if len(kernels) < 4:
        return 1
    shape = kernels["name"].astype(np.uint64)
    for field_name in ("grid", "block"):
        for axis in range(3):
            shape = shape * np.uint64(1_000_003) + kernels[field_name][:, axis]
    _, begins = np.unique(kernels["correlation"], return_index=True)
    # The nodes of a graph may start in another order each time: a sum does not see it.
    calls = np.add.reduceat(shape, begins)[:_MOST_CALLS]
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
