"""The latency of a request from its profile: alone on some units, and beside another program.

A request is played launch by launch. Within a graph a launch starts its gap after the end of what
ran before. Outside of graphs the program issues launches at its own pace: a launch starts when the
program has issued it and what ran before has ended, so kernels that get slower fill the gaps in
which the GPU waited for the program. After a copy the program may have waited for its end, and is
late with all that follows. Launches that overlapped with the one before keep the overlap, in
proportion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fico.records.profile import Launch, Profile

_ISSUE_GAP_US = 2.0
"""After a gap up to this the launch was already waiting; it is the GPU's own latency."""
_ROUNDS = 50


def alone_us(profile: Profile, trace: int, units: int) -> float:
    """Latency of a request of one kind, alone on `units` units, from first start to last end."""
    launches = profile.trace_launches(trace)
    return request_us(launches, [launch.scaling_us[units - 1] for launch in launches])


def split_us(one: tuple[Profile, int, int], other: tuple[Profile, int, int]) -> tuple[float, float]:
    """Latencies of two programs side by side, both always busy, each on its own units.

    Each is a profile, a kind of request and a number of units. Each is slowed down by the mean
    pressure of the other at the speed that it then has.
    """
    sides = (one, other)
    latencies = [alone_us(*side) for side in sides]
    for _ in range(_ROUNDS):
        pressures = [
            mean_pressure(profile, trace, latency_us)
            for (profile, trace, _), latency_us in zip(sides, latencies, strict=True)
        ]
        found = [
            beside_us(*side, pressure)
            for side, pressure in zip(sides, pressures[::-1], strict=True)
        ]
        # Half a step: both react to each other at once, and a whole step may swing.
        new = [(a + b) / 2 for a, b in zip(latencies, found, strict=True)]
        settled = np.allclose(new, latencies, rtol=1e-6)
        latencies = new
        if settled:
            break
    return latencies[0], latencies[1]


def beside_us(profile: Profile, trace: int, units: int, pressure: Sequence[float]) -> float:
    """Latency on `units` units beside a neighbour that uses these parts of the resources."""
    launches = profile.trace_launches(trace)
    durations = [launch.scaling_us[units - 1] * slowdown(launch, pressure) for launch in launches]
    return request_us(launches, durations)


def slowdown(launch: Launch, pressure: Sequence[float]) -> float:
    """Of a launch beside a neighbour on other units that uses these parts of the resources."""
    return 1.0 + sum(a * b for a, b in zip(launch.sensitivity, pressure, strict=True))


def mean_pressure(profile: Profile, trace: int, latency_us: float) -> tuple[float, ...]:
    """Of a request that takes `latency_us`: what it takes on the units it was measured on, in
    proportion to its speed, at most 1."""
    measured_us = alone_us(profile, trace, profile.shared_units)
    of_trace = profile.traces[trace].pressure
    return tuple(min(pressure * measured_us / latency_us, 1.0) for pressure in of_trace)


def request_us(launches: Sequence[Launch], durations_us: Sequence[float]) -> float:
    """From the first start to the last end of a request whose launches take `durations_us`."""
    measured = _Clock(launches)
    first_us = None
    late_us = 0.0
    latest_end_us = 0.0
    latest = 0
    stream_ends: dict[int, float] = {}
    start_us = 0.0
    for index, launch in enumerate(launches):
        before = launches[latest]
        if index == 0:
            start_us = 0.0
        elif launch.gap_us < 0:
            part = min(-launch.gap_us / max(measured.duration_us(latest), 1e-9), 1.0)
            earliest_us = latest_end_us - part * durations_us[latest]
            if launch.stream != before.stream:
                earliest_us = max(earliest_us, stream_ends.get(launch.stream, 0.0))
            start_us = max(start_us, earliest_us)
        elif launch.from_graph and launches[index - 1].from_graph:
            start_us = latest_end_us + launch.gap_us
        else:
            if launch.gap_us > _ISSUE_GAP_US and launches[index - 1].kind == "copy":
                late_us = max(late_us, latest_end_us - measured.latest_end_us[index - 1])
            waiting_us = latest_end_us + min(launch.gap_us, _ISSUE_GAP_US)
            issued_us = measured.start_us[index] + late_us
            start_us = max(waiting_us, issued_us if launch.gap_us > _ISSUE_GAP_US else 0.0)
        first_us = start_us if first_us is None else first_us
        end_us = start_us + durations_us[index]
        stream_ends[launch.stream] = max(stream_ends.get(launch.stream, 0.0), end_us)
        if end_us >= latest_end_us:
            latest_end_us, latest = end_us, index
    return latest_end_us - (first_us or 0.0)


class _Clock:
    """When launches started and ended while they were measured on all units."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._launches = launches
        self.start_us: list[float] = []
        self.latest_end_us: list[float] = []
        latest_us = 0.0
        for index, launch in enumerate(launches):
            start_us = max(latest_us + launch.gap_us, 0.0) if index else 0.0
            latest_us = max(latest_us, start_us + launch.duration_us)
            self.start_us.append(start_us)
            self.latest_end_us.append(latest_us)

    def duration_us(self, index: int) -> float:
        return self._launches[index].duration_us
