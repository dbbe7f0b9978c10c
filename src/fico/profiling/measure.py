"""Measuring a program: it runs as a tenant, unmodified, on partition after partition.

Its launches are counted for a while on each partition, and on half of the units beside each
neighbour on the others, which gives its pace. Then all of that comes again, traced: CUPTI slows
launches down from when it is first used, so all counting comes first. Nothing is replayed: all
launches are the program's own.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fico.profiling.collector import CAPACITY, TraceFile
from fico.profiling.neighbour import NeighbourProcess
from fico.profiling.program import Profiled
from fico.profiling.records import KERNEL, Measurement, NeighbourRates, Pace, Window
from fico.profiling.requests import NoRequestsError, find_requests
from fico.records.profile import NEIGHBOURS, Neighbour
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED

START_WITHIN_S = 300.0
_SETTLE_S = 0.02
_COUNTED_S = 0.2
"""On all units; on fewer as much longer as they are fewer."""
_SHORTEST_S = 0.12
_LONGEST_S = 1.5
_WANTED_REQUESTS = 10
_MOST_RECORDS = 0.7 * CAPACITY
"""Some configurations are faster than the first one, which says how fast records come."""
_STEADY_WITHIN_S = 120.0
_STEADY_CHANGE = 0.1
_PROBE_S = 0.25
_DRIFT = 0.5
"""From the first to the last time on all units; a machine's own is a few percent."""
_ALIKE = 0.1
"""Two paces of the same configuration."""
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
        run = Run(program, trace, gpu, progress)
        run.measure_all(start_within_s)
        return Measurement(
            gpu=program.session.gpu,
            cuda=cuda,
            program=command[0],
            arguments=tuple(command[1:]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            windows=run.named_windows(),
            neighbours=run.rates,
            paces=run.paces(),
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
    """Of dtype RAW; `name` is an offset."""


class Run:
    """One measurement, from the program's first requests to the last window."""

    def __init__(self, program: Profiled, trace: TraceFile, gpu: str, progress: Progress) -> None:
        self._program = program
        self._trace = trace
        self._gpu = gpu
        self._progress = progress
        self.rates: dict[Neighbour, NeighbourRates] = {}
        self._windows: list[_Window] = []
        self._counted: list[float] = []
        self._traced: list[float] = []
        """Calls per second in each configuration."""
        self._sms = program.session.gpu.sms_per_unit
        count = len(self._sms)
        # All units first and last: a drift of the machine's speed shows.
        self._sizes = (*reversed(partition_sizes(count)), count)
        self._steps = 2 * (len(self._sizes) + len(NEIGHBOURS)) + 1
        self._done = 0
        self._calls_per_request = 1
        self._records_per_s = 0.0
        """On all units."""

    def measure_all(self, start_within_s: float) -> None:
        """Measure every configuration."""
        self._progress("waiting for the program's first requests", 0.0)
        self._program.await_launches(start_within_s)
        self._await_steady(min(start_within_s, _STEADY_WITHIN_S))
        self._program.check_alone()
        self._count_all()
        self._trace_all()
        self._progress("measured", 1.0)

    @property
    def counted(self) -> tuple[float, ...]:
        """Calls per second in each configuration, while nothing was traced."""
        return tuple(self._counted)

    def paces(self) -> tuple[Pace, ...]:
        """Of each window."""
        return tuple(map(Pace, self._counted, self._traced))

    def named_windows(self) -> tuple[Window, ...]:
        """What was recorded, as the analysis takes it."""
        offsets = np.unique(np.concatenate([window.records["name"] for window in self._windows]))
        names = tuple(self._trace.name(int(offset)) for offset in offsets)
        windows = []
        for window in self._windows:
            operations = _whole(window.records)
            operations["name"] = np.searchsorted(offsets, operations["name"])
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

    def _step(self, what: str) -> None:
        self._progress(what, self._done / self._steps)
        self._done += 1

    def _partitions(self, doing: str) -> Iterator[int]:
        """Confine the program to each size of partition in turn."""
        for units in self._sizes:
            self._step(f"{doing} on {units} of {len(self._sms)} units")
            self._program.confine(units)
            yield units

    @contextlib.contextmanager
    def _neighbour(self) -> Iterator[NeighbourProcess]:
        """One on half of the units, the program on the others."""
        units = len(self._sms) // 2
        self._program.confine(units)
        others = self._sms[units:]
        emulated = self._program.session.gpu.emulated
        neighbour = NeighbourProcess(self._gpu, len(others), sum(others), emulated)
        try:
            yield neighbour
        finally:
            neighbour.close()

    def _kinds(self, doing: str, neighbour: NeighbourProcess) -> Iterator[Neighbour]:
        """Let the neighbour do each kind of work in turn."""
        for kind in NEIGHBOURS:
            self._step(f"{doing} beside a neighbour: {kind.work}, {kind.strength:.0%}")
            neighbour.run(kind)
            yield kind

    def _count_all(self) -> None:
        self.count_alone()
        with self._neighbour() as neighbour:
            beside: dict[Neighbour, float] = {}
            for kind in self._kinds("counting", neighbour):
                self._settle()
                neighbour.mark()
                self._counted.append(self._pace(len(self._sms) // 2))
                beside[kind] = neighbour.rate()
            self._step("the neighbours by themselves")
            with self._program.paused():
                for kind in NEIGHBOURS:
                    neighbour.run(kind)
                    time.sleep(_SETTLE_S)
                    neighbour.mark()
                    time.sleep(_SHORTEST_S)
                    alone = neighbour.rate()
                    if not alone > 0:
                        raise FicoError(
                            f"the {kind.work} neighbour got nothing done by itself",
                            "measure again when the machine is less busy",
                        )
                    self.rates[kind] = NeighbourRates(alone, beside[kind])

    def count_alone(self) -> None:
        """The program's pace on each partition."""
        for units in self._partitions("counting"):
            self._settle()
            self._counted.append(self._pace(units))
        first, last = self._counted[0], self._counted[-1]
        if abs(first - last) > _DRIFT * last:
            self._count_anew()

    def _count_anew(self) -> None:
        """The first ones were of what the program does once, evenly too: it was slower or faster
        then. Where two in a row come out as before, that is over."""
        self._steps += len(self._sizes)
        alike = 0
        for index, units in enumerate(self._partitions("counting again")):
            self._settle()
            before, self._counted[index] = self._counted[index], self._pace(units)
            alike = alike + 1 if abs(self._counted[index] - before) <= _ALIKE * before else 0
            if alike == 2:
                self._steps -= len(self._sizes) - (index + 1)
                return

    def _trace_all(self) -> None:
        for units in self._partitions("tracing"):
            self._record(units, None)
            if len(self._windows) == 1:
                self._check_requests()
        with self._neighbour() as neighbour:
            for kind in self._kinds("tracing", neighbour):
                self._record(len(self._sms) // 2, kind)

    def _check_requests(self) -> None:
        """NoRequestsError now, and not when all has been traced, if the program does not repeat
        itself even in the longest window."""
        try:
            find_requests(self.named_windows())
        except NoRequestsError:
            self._windows.clear()
            self._traced.clear()
            self._record(len(self._sms), None, at_least_s=_LONGEST_S)
            find_requests(self.named_windows())

    def _slower(self, units: int) -> float:
        """How much longer requests take, were they as slow as the SMs are few."""
        return sum(self._sms) / sum(self._sms[:units])

    def _pace(self, units: int) -> float:
        """Calls per second, on the partition where the program is."""
        return self._program.pace(min(_COUNTED_S * self._slower(units), _LONGEST_S))

    def _record(self, units: int, kind: Neighbour | None, at_least_s: float = _SHORTEST_S) -> None:
        """One window."""
        self._settle()
        seconds = max(self._window_s(units), at_least_s)
        self._trace.begin()
        self._traced.append(self._program.pace(seconds))
        records = self._recorded(seconds)
        self._windows.append(_Window(units, kind, records))
        if len(self._windows) == 1:
            self._calls_per_request = calls_per_request(records)
            self._records_per_s = len(records) / seconds

    def _settle(self) -> None:
        """Wait until what was launched under another configuration has gone by."""
        self._program.await_calls(2 * self._calls_per_request, _LONGEST_S)
        time.sleep(_SETTLE_S)

    def _recorded(self, seconds: float) -> NDArray[np.void]:
        """End the window; gives its records."""
        records, dropped = self._trace.end()
        if dropped:
            raise FicoError(
                f"{dropped} launches of {seconds:g} s were lost for want of room",
                "profile a program that launches less, or one model at a time",
            )
        return records

    def _window_s(self, units: int) -> float:
        """Time for the wanted number of requests."""
        request_s = self._calls_per_request / self._counted[0]
        if not request_s > 0:
            return _SHORTEST_S
        longest_s = min(_LONGEST_S, _MOST_RECORDS / max(self._records_per_s, 1.0))
        return min(max(_SHORTEST_S, _WANTED_REQUESTS * request_s * self._slower(units)), longest_s)


def _whole(records: NDArray[np.void]) -> NDArray[np.void]:
    """A copy without what ran when recording ended, which has no end."""
    return records[records["end_ns"] > records["start_ns"]].copy()


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
