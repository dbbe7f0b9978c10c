"""From all that was measured of a program to its profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from fico import _native
from fico.profiling.classes import Thresholds, classify
from fico.profiling.curves import fit_curve, right_units
from fico.profiling.interference import (
    RESOURCES,
    bound_of,
    pressure_weights,
    program_pressure,
    sensitivity,
    spread_pressure,
)
from fico.profiling.occupancy import blocks_per_sm
from fico.profiling.records import KERNEL, KIND_NAMES, Measurement, Window
from fico.profiling.requests import Found, NoRequestsError, RequestKind, Requests, find_requests
from fico.records.profile import NEIGHBOURS, KernelClass, Launch, Neighbour, Profile, Trace

Floats = NDArray[np.float64]

EPSILON = 0.05
"""A kernel at its right size is at most this much slower than on all units."""
_TICKS = 2
"""Two durations are the same if they differ by so many ticks of the timer: one at each end."""
_MOST_SLOWED = 0.25
"""Tracing costs at most this part of a request; more is something else."""


def analyse(
    measurement: Measurement, thresholds: Thresholds | None = None, epsilon: float = EPSILON
) -> Profile:
    """Make the profile.

    NoRequestsError: the program does not repeat itself. ValueError: no window was measured alone
    on all units, or not alone on the units on which it was measured beside neighbours.
    """
    return _Analysis(measurement, thresholds or Thresholds(), epsilon).profile()


class _Analysis:
    def __init__(self, measurement: Measurement, thresholds: Thresholds, epsilon: float) -> None:
        self.measurement = measurement
        self.thresholds = thresholds
        self.epsilon = epsilon
        self.windows = measurement.windows
        self.unit_sms = np.cumsum(measurement.gpu.sms_per_unit).astype(np.float64)
        self.all_units = len(self.unit_sms)
        alone = {window.units for window in self.windows if window.neighbour is None}
        if self.all_units not in alone:
            raise ValueError("the program was not measured alone on all units")
        self.measured_units = tuple(sorted(alone))
        shared = {window.units for window in self.windows if window.neighbour is not None}
        if len(shared) > 1 or not shared <= alone:
            raise ValueError(
                f"beside neighbours on {sorted(shared)} units, alone on {sorted(alone)}"
            )
        self.shared_units = shared.pop() if shared else max(self.all_units // 2, 1)
        self.reference = max(
            self._windows_of(self.all_units, None),
            key=lambda index: len(self.windows[index].operations),
        )
        self.requests: Requests = find_requests(self.windows, self.reference)
        self.resolution_us = _TICKS * _tick_us(self.windows[self.reference])

    def profile(self) -> Profile:
        pressures = self._pressures()
        traces: list[Trace] = []
        launches: list[Launch] = []
        for index, kind in enumerate(self.requests.kinds):
            of_kind = self._launches(index, kind, pressures[index])
            launches += of_kind
            traces.append(self._trace(index, of_kind))
        measured = self.measurement
        return Profile(
            gpu=measured.gpu,
            cuda=measured.cuda,
            program=measured.program,
            arguments=measured.arguments,
            created=measured.created,
            epsilon=self.epsilon,
            measured_units=self.measured_units,
            shared_units=self.shared_units,
            traces=tuple(traces),
            launches=tuple(launches),
            thresholds=asdict(self.thresholds),
        )

    def _windows_of(self, units: int, neighbour: Neighbour | None) -> list[int]:
        return [
            index
            for index, window in enumerate(self.windows)
            if window.units == units and window.neighbour == neighbour
        ]

    def _durations_us(self, kind: int, units: int, neighbour: Neighbour | None = None) -> Floats:
        """Of every request of a kind in one configuration: (requests, positions), NaN is none."""
        parts = [
            _times_us(self.windows[index], self.requests.found[index][kind])
            for index in self._windows_of(units, neighbour)
        ]
        if not parts:
            return np.full((0, len(self.requests.kinds[kind].signatures)), np.nan)
        return np.concatenate(parts)

    def _latencies_us(self, kind: int, units: int) -> Floats:
        spans = [
            (found.end_ns - found.start_ns) / 1e3
            for index in self._windows_of(units, None)
            for found in [self.requests.found[index][kind]]
        ]
        return np.concatenate(spans) if spans else np.zeros(0)

    def _launches(self, kind: int, request: RequestKind, pressures: Floats) -> list[Launch]:
        example = self.windows[self.reference].operations[request.example]
        # Without what tracing costs.
        whole = self._untraced(kind, self.all_units)
        low, middle, high = whole * quartiles(self._durations_us(kind, self.all_units))
        measured = np.stack(
            [
                self._untraced(kind, units) * _medians(self._durations_us(kind, units))
                for units in self.measured_units
            ],
            axis=1,
        )
        slowdowns = self._slowdowns(kind)
        sensitivities = sensitivity(slowdowns)
        gaps_us = self._untraced_gaps_us(kind, whole * self._gaps_us(kind))
        stream_of: dict[int, int] = {}
        names = self.windows[self.reference].names
        launches = []
        for position, row in enumerate(example):
            is_kernel = row["kind"] == KERNEL
            grid, block, cluster = (_triple(row[field]) for field in ("grid", "block", "cluster"))
            shared_bytes = int(row["static_shared"]) + int(row["dynamic_shared"])
            fits = (
                blocks_per_sm(int(np.prod(block)), int(row["registers"]), shared_bytes)
                if is_kernel
                else 1
            )
            blocks = int(np.prod(grid)) if is_kernel else 0
            curve = fit_curve(
                self.unit_sms,
                np.array(self.measured_units),
                measured[position],
                blocks,
                fits,
            )
            mangled = names[int(row["name"])] if len(names) else ""
            launches.append(
                Launch(
                    trace=kind,
                    position=position,
                    kind=KIND_NAMES[row["kind"]],
                    name=_native.demangle(mangled),
                    mangled=mangled,
                    grid=grid,
                    block=block,
                    cluster=cluster,
                    registers=int(row["registers"]),
                    shared_bytes=shared_bytes,
                    blocks_per_sm=fits,
                    stream=stream_of.setdefault(int(row["stream"]), len(stream_of)),
                    from_graph=bool(row["graph_id"]),
                    gap_us=float(gaps_us[position]),
                    duration_us=float(middle[position]),
                    spread_us=float(high[position] - low[position]),
                    measured_us=tuple(measured[position].tolist()),
                    scaling_us=curve.scaling_us,
                    fit_error=curve.fit_error,
                    right_units=right_units(curve.scaling_us, self.epsilon, self.resolution_us),
                    slowdowns=tuple(slowdowns[position].tolist()),
                    sensitivity=_three(sensitivities[position]),
                    pressure=_three(pressures[position]),
                    bound=bound_of(
                        slowdowns[position],
                        blocks / (fits * self.unit_sms[self.shared_units - 1]),
                        curve.scaling_us,
                    ),
                    kernel_class=KernelClass.NEUTRAL,
                )
            )
        classes = classify(launches, self.measurement.gpu.sms_per_unit, self.thresholds)
        return [
            replace(launch, kernel_class=its_class)
            for launch, its_class in zip(launches, classes, strict=True)
        ]

    def _slowdowns(self, kind: int) -> Floats:
        """(positions, neighbours)."""
        alone_us = _medians(self._durations_us(kind, self.shared_units))
        beside = [
            _medians(self._durations_us(kind, self.shared_units, neighbour)) / alone_us
            for neighbour in NEIGHBOURS
        ]
        return np.stack(beside, axis=1)

    def _gaps_us(self, kind: int) -> Floats:
        """From the latest end before to the start: median; the first has none."""
        gaps = []
        for index in self._windows_of(self.all_units, None):
            found = self.requests.found[index][kind]
            rows = self.windows[index].operations[np.maximum(found.rows, 0)]
            missing = found.rows < 0
            starts = np.where(
                missing, np.nan, rows["start_ns"].astype(np.int64) - found.start_ns[:, None]
            )
            ends = np.where(
                missing, -np.inf, rows["end_ns"].astype(np.int64) - found.start_ns[:, None]
            )
            latest = np.maximum.accumulate(ends, axis=1)
            with np.errstate(invalid="ignore"):
                gap = (starts[:, 1:] - latest[:, :-1]) / 1e3
            gaps.append(np.where(np.isfinite(gap), gap, np.nan))
        medians = _medians(np.concatenate(gaps))
        return np.concatenate(([0.0], np.nan_to_num(medians)))

    def _untraced(self, kind: int, units: int) -> float:
        """Duration without tracing over duration with it, for what comes from graphs; at most 1.

        On few units tracing costs more than all gaps, so it slows kernels too; which part is whose
        cannot be seen. A request takes no longer than from its begin to the next one's, which is
        known without tracing.
        """
        if not self._from_graph(kind):
            return 1.0
        untraced = self._period_us(kind, units) / _median(self._latencies_us(kind, units))
        return float(np.clip(untraced, 1 - _MOST_SLOWED, 1)) if np.isfinite(untraced) else 1.0

    def _untraced_gaps_us(self, kind: int, gaps_us: Floats) -> Floats:
        """Outside of graphs tracing lengthens gaps, since it costs the program time: if requests
        come faster without it, gaps are as much shorter."""
        period_us = self._period_us(kind, self.all_units)
        waited_us = float(np.maximum(gaps_us, 0).sum())
        if self._from_graph(kind) or not np.isfinite(period_us) or waited_us == 0:
            return gaps_us
        excess_us = max(_median(self._latencies_us(kind, self.all_units)) - period_us, 0)
        return np.where(gaps_us > 0, gaps_us * max(1 - excess_us / waited_us, 0), gaps_us)

    def _from_graph(self, kind: int) -> bool:
        example = self.windows[self.reference].operations[self.requests.kinds[kind].example]
        kernels = example[example["kind"] == KERNEL]
        return bool(2 * np.count_nonzero(kernels["graph_id"]) > len(kernels))

    def _period_us(self, kind: int, units: int) -> float:
        """From one request to the next while nothing was traced; NaN for several kinds."""
        paces = self.measurement.paces
        if len(self.requests.kinds) > 1 or not paces:
            return float("nan")
        example = self.windows[self.reference].operations[self.requests.kinds[kind].example]
        calls = len(np.unique(example["correlation"][example["kind"] == KERNEL]))
        rates = np.array([paces[index].calls_per_s for index in self._windows_of(units, None)])
        return 1e6 * calls / _median(rates)

    def _pressures(self) -> list[Floats]:
        """Of each kind: (positions, resources).

        What was measured is the mean over all that the program did on the shared units, while it
        was not traced. Its period then says over which time, where there is one: what was recorded
        begins with the parts of a request, and now and then with an operation of long before.
        """
        total = program_pressure(self.measurement.neighbours)
        parts, counts = [], []
        for kind in range(len(self.requests.kinds)):
            durations_us = _medians(self._durations_us(kind, self.shared_units))
            if not np.isfinite(durations_us).all():
                whole = _medians(self._durations_us(kind, self.all_units))
                durations_us = np.where(np.isfinite(durations_us), durations_us, whole)
            parts.append(durations_us)
            counts.append(self._seen(kind, self.shared_units) or self._seen(kind, self.all_units))
        weights = [
            pressure_weights(sensitivity(self._slowdowns(kind))) for kind in range(len(parts))
        ]
        busy_us = np.concatenate([part * count for part, count in zip(parts, counts, strict=True)])
        span_us = counts[0] * self._period_us(0, self.shared_units)
        if not np.isfinite(span_us):
            span_us = self._span_us()
        span_us = max(span_us, float(busy_us.sum()))
        spread = np.stack(
            [
                spread_pressure(
                    total[r], np.concatenate([w[:, r] for w in weights]), busy_us, span_us
                )
                for r in range(len(RESOURCES))
            ],
            axis=1,
        )
        return np.split(spread, np.cumsum([len(part) for part in parts])[:-1])

    def _seen(self, kind: int, units: int) -> int:
        return sum(len(self.requests.found[i][kind].rows) for i in self._windows_of(units, None))

    def _span_us(self) -> float:
        """Length of all the windows on the shared units together, from request to request."""
        span_us = 0.0
        for index in self._windows_of(self.shared_units, None):
            found = [kind for kind in self.requests.found[index] if len(kind.start_ns)]
            if found:
                begin = min(int(kind.start_ns.min()) for kind in found)
                span_us += (max(int(kind.end_ns.max()) for kind in found) - begin) / 1e3
        return span_us

    def _trace(self, kind: int, launches: Sequence[Launch]) -> Trace:
        latency_us = {
            units: self._untraced(kind, units) * _median(self._latencies_us(kind, units))
            for units in self.measured_units
        }
        durations_us = np.array([launch.scaling_us[self.shared_units - 1] for launch in launches])
        pressures = np.array([launch.pressure for launch in launches])
        used_us = pressures.T @ durations_us
        span_us = max(latency_us.get(self.shared_units, 0.0), float(durations_us.sum()), 1e-9)
        return Trace(
            launches=len(launches),
            requests=self._seen(kind, self.all_units),
            from_graph=self._from_graph(kind),
            latency_us=tuple(latency_us.values()),
            period_us=tuple(self._period_us(kind, units) for units in self.measured_units),
            pressure=_three(np.clip(used_us / span_us, 0, 1)),
        )


def _times_us(window: Window, found: Found) -> Floats:
    rows = window.operations[np.maximum(found.rows, 0)] if len(window.operations) else None
    if rows is None:
        return np.full(found.rows.shape, np.nan)
    times = (rows["end_ns"] - rows["start_ns"]).astype(np.float64) / 1e3
    return np.where(found.rows < 0, np.nan, times)


def _tick_us(window: Window) -> float:
    """What the timer tells apart: the largest step that all times are multiples of."""
    if not len(window.operations):
        return 0.0
    return float(np.gcd.reduce(window.operations["end_ns"] - window.operations["start_ns"])) / 1e3


def quartiles(times_us: Floats) -> Floats:
    """Of each column, linear between the nearest values; NaN of a position that no request has.

    As `np.nanquantile` gives them, which takes column after column and so most of the time of an
    analysis.
    """
    if not len(times_us):
        return np.full((3, times_us.shape[1]), np.nan)
    ordered = np.sort(times_us, axis=0)  # NaN last
    counts = np.count_nonzero(np.isfinite(ordered), axis=0)
    place = np.array([[0.25], [0.5], [0.75]]) * np.maximum(counts - 1, 0)
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    columns = np.arange(times_us.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    quartiles: Floats = low + (high - low) * (place - below)
    return quartiles


def _medians(times_us: Floats) -> Floats:
    return np.asarray(quartiles(times_us)[1])


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _triple(values: NDArray[np.uint32]) -> tuple[int, int, int]:
    x, y, z = values.tolist()
    return x, y, z


def _three(values: Floats) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


__all__ = ["EPSILON", "NoRequestsError", "analyse", "quartiles"]
