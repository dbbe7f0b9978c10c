"""What there is to say of a profile, as rows for tables and figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from statistics import median_high

import numpy as np

from fico.profiling.classes import Shares, code, shares
from fico.profiling.prediction import alone_us
from fico.records.profile import (
    NEIGHBOURS,
    Bound,
    KernelClass,
    Launch,
    Neighbour,
    Profile,
    Resource,
)
from fico.report.kernel_names import short_name

_BESIDE_MEMORY = NEIGHBOURS.index(Neighbour(Resource.MEMORY, 1.0))


@dataclass(frozen=True, slots=True)
class KernelRow:
    """All launches of one code and shape in a request."""

    name: str
    full_name: str
    count: int
    share: float
    """Of the request's busy time."""
    duration_us: float
    """Median over the launches, on all units."""
    half_slowdown: float
    """Duration on half of the units over that on all."""
    right_units: int
    """Median of its launches."""
    kernel_class: KernelClass
    bound: Bound
    """Of most of their time."""
    memory_slowdown: float
    """Duration beside a full memory neighbour over that without one; NaN if not measured."""
    fit_error: float
    blocks: int
    relative: tuple[float, ...]
    """Duration on 1, 2, … all units over that on all."""


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One kind of request."""

    index: int
    launches: int
    requests: int
    from_graph: bool
    latency_us: tuple[float, ...]
    """Measured, on `Profile.measured_units`."""
    predicted_us: tuple[float, ...]
    """From the profile, on 1, 2, … all units."""
    busy_us: float
    pressure: dict[str, float]
    by_time: Shares
    by_count: Shares
    fit_error: float
    """Median over the request's kernels, weighted by time."""
    kernels: tuple[KernelRow, ...]
    """By share, largest first."""


def summary(profile: Profile) -> tuple[TraceSummary, ...]:
    """All kinds of requests of a profile."""
    return tuple(_trace(profile, index) for index in range(len(profile.traces)))


def _trace(profile: Profile, index: int) -> TraceSummary:
    trace = profile.traces[index]
    launches = profile.trace_launches(index)
    units = len(profile.gpu.sms_per_unit)
    busy_us = sum(launch.duration_us for launch in launches)
    groups: defaultdict[tuple[object, ...], list[Launch]] = defaultdict(list)
    for launch in launches:
        groups[(*code(launch), launch.kernel_class)].append(launch)
    kernels = [_kernel(group, busy_us) for group in groups.values()]
    return TraceSummary(
        index=index,
        launches=trace.launches,
        requests=trace.requests,
        from_graph=trace.from_graph,
        latency_us=trace.latency_us,
        predicted_us=tuple(alone_us(profile, index, count) for count in range(1, units + 1)),
        busy_us=busy_us,
        pressure={
            str(resource): part for resource, part in zip(Resource, trace.pressure, strict=True)
        },
        by_time=shares(launches),
        by_count=shares(launches, by_time=False),
        fit_error=_fit_error(launches),
        kernels=tuple(sorted(kernels, key=lambda row: -row.share)),
    )


def _kernel(group: Sequence[Launch], busy_us: float) -> KernelRow:
    first = group[0]
    curve = np.median([launch.scaling_us for launch in group], axis=0)
    half = max(len(curve) // 2, 1)
    relative = curve / curve[-1]
    label = short_name(first.name) if first.name else first.kind
    return KernelRow(
        name=label if first.kind == "kernel" else f"{first.kind} {label}",
        full_name=first.name,
        count=len(group),
        share=sum(launch.duration_us for launch in group) / (busy_us or 1),
        duration_us=float(np.median([launch.duration_us for launch in group])),
        half_slowdown=float(relative[half - 1]),
        right_units=median_high(launch.right_units for launch in group),
        kernel_class=first.kernel_class,
        bound=_mostly(group),
        memory_slowdown=float(np.median([launch.slowdowns[_BESIDE_MEMORY] for launch in group])),
        fit_error=_fit_error(group),
        blocks=int(np.prod(first.grid)),
        relative=tuple(relative.tolist()),
    )


def _mostly(group: Sequence[Launch]) -> Bound:
    time_us: defaultdict[Bound, float] = defaultdict(float)
    for launch in group:
        time_us[launch.bound] += launch.duration_us
    return max(time_us, key=time_us.__getitem__)


def _fit_error(launches: Sequence[Launch]) -> float:
    """Median over time: half of the busy time is in launches with a smaller error."""
    known = sorted(
        (launch.fit_error, launch.duration_us) for launch in launches if launch.fit_error >= 0
    )
    if not known:
        return float("nan")
    over_time = np.cumsum([duration for _, duration in known])
    return known[int(np.searchsorted(over_time, over_time[-1] / 2))][0]


@dataclass(frozen=True, slots=True)
class TraceDifference:
    """What two kinds of requests have in common, and what not."""

    first: int | None
    second: int | None
    """None: the other profile has no such request."""
    common: int = 0
    """Launches that are the same code and shape at the same place."""
    only_first: tuple[Launch, ...] = ()
    only_second: tuple[Launch, ...] = ()
    ratios: tuple[tuple[float, Launch, Launch], ...] = ()
    """Duration in the second over that in the first, of common launches of over LEAST_US."""
    class_changes: tuple[tuple[Launch, Launch], ...] = ()

    @property
    def median_change(self) -> float:
        """Median of |ratio - 1|; NaN if no launch is long enough."""
        changes = [abs(ratio - 1) for ratio, _, _ in self.ratios]
        return float(np.median(changes)) if changes else float("nan")


LEAST_US = 5.0
"""Durations of shorter launches are too coarse to compare."""


def difference(first: Profile, second: Profile) -> tuple[TraceDifference, ...]:
    """Compare the requests of two profiles; each request with the one most like it."""
    codes = [
        [
            [code(launch) for launch in profile.trace_launches(trace)]
            for trace in range(len(profile.traces))
        ]
        for profile in (first, second)
    ]
    likeness = sorted(
        (
            (-SequenceMatcher(None, one, other, autojunk=False).ratio(), a, b)
            for a, one in enumerate(codes[0])
            for b, other in enumerate(codes[1])
        ),
    )
    pairs: dict[int, int] = {}
    for ratio, a, b in likeness:
        if ratio < 0 and a not in pairs and b not in pairs.values():
            pairs[a] = b
    found = []
    for a in range(len(codes[0])):
        if a in pairs:
            found.append(_compared(first, second, a, pairs[a], codes[0][a], codes[1][pairs[a]]))
        else:
            found.append(TraceDifference(a, None))
    found += [TraceDifference(None, b) for b in range(len(codes[1])) if b not in pairs.values()]
    return tuple(found)


def _compared(
    first: Profile,
    second: Profile,
    a: int,
    b: int,
    codes: list[tuple[object, ...]],
    other_codes: list[tuple[object, ...]],
) -> TraceDifference:
    mine, theirs = first.trace_launches(a), second.trace_launches(b)
    common: list[tuple[Launch, Launch]] = []
    only: tuple[list[Launch], list[Launch]] = ([], [])
    matcher = SequenceMatcher(None, codes, other_codes, autojunk=False)
    for tag, begin, end, other, other_end in matcher.get_opcodes():
        if tag == "equal":
            common += zip(mine[begin:end], theirs[other:other_end], strict=True)
        else:
            only[0].extend(mine[begin:end])
            only[1].extend(theirs[other:other_end])
    ratios = [
        (theirs.duration_us / mine.duration_us, mine, theirs)
        for mine, theirs in common
        if mine.duration_us > LEAST_US
    ]
    return TraceDifference(
        first=a,
        second=b,
        common=len(common),
        only_first=tuple(only[0]),
        only_second=tuple(only[1]),
        ratios=tuple(sorted(ratios, key=lambda row: -abs(row[0] - 1))),
        class_changes=tuple(
            (mine, theirs) for mine, theirs in common if mine.kernel_class != theirs.kernel_class
        ),
    )
