"""How critical each kernel is for its request.

Two figures decide (docs/profiling.md has the reasons):
 - gain: the elasticity of the duration between a quarter of the units and all of them,
   log(t(quarter) / t(all)) / log(SMs(all) / SMs(quarter)): 1 where twice the SMs halve the
   duration, 0 where they change nothing;
 - share: the part of the request's busy time that all launches of the same code and shape take
   together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fico.records.profile import KernelClass, Launch, Profile


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the classes begin."""

    insensitive_gain: float = 0.2
    """Kernels with a gain below are insensitive."""
    dominant_gain: float = 0.4
    """Kernels with a gain from here on are dominant if their share is large enough."""
    dominant_share: float = 0.005
    """Of the request's busy time, for a dominant kernel."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the requests that each class takes; they add up to 1."""

    dominant: float
    neutral: float
    insensitive: float


def gain(scaling_us: Sequence[float], unit_sms: Sequence[int]) -> float:
    """Elasticity of a curve between a quarter of the units and all, 0 to about 1.

    `unit_sms[n - 1]`: SMs of n units.
    """
    quarter = max(len(scaling_us) // 4, 1)
    if quarter == len(scaling_us):
        return 0.0
    speedup = scaling_us[quarter - 1] / scaling_us[-1]
    return float(np.log(speedup) / np.log(unit_sms[-1] / unit_sms[quarter - 1]))


def classify(
    launches: Sequence[Launch], sms_per_unit: Sequence[int], thresholds: Thresholds
) -> tuple[KernelClass, ...]:
    """The class of each launch of one kind of request. Copies and fills are insensitive."""
    unit_sms = np.cumsum(sms_per_unit).tolist()
    busy_us = sum(launch.duration_us for launch in launches)
    of_code: defaultdict[tuple[object, ...], float] = defaultdict(float)
    for launch in launches:
        of_code[code(launch)] += launch.duration_us
    classes = []
    for launch in launches:
        if launch.kind != "kernel":
            classes.append(KernelClass.INSENSITIVE)
            continue
        its_gain = gain(launch.scaling_us, unit_sms)
        large = of_code[code(launch)] >= thresholds.dominant_share * busy_us
        if its_gain < thresholds.insensitive_gain:
            classes.append(KernelClass.INSENSITIVE)
        elif its_gain >= thresholds.dominant_gain and large:
            classes.append(KernelClass.DOMINANT)
        else:
            classes.append(KernelClass.NEUTRAL)
    return tuple(classes)


def code(launch: Launch) -> tuple[object, ...]:
    """What launches of the same code and shape have in common."""
    return (launch.kind, launch.mangled, launch.grid, launch.block, launch.shared_bytes)


def reclassified(profile: Profile, thresholds: Thresholds) -> Profile:
    """The profile with the classes that other thresholds give."""
    launches: list[Launch] = []
    for trace in range(len(profile.traces)):
        of_trace = profile.trace_launches(trace)
        classes = classify(of_trace, profile.gpu.sms_per_unit, thresholds)
        launches += (
            replace(launch, kernel_class=its_class)
            for launch, its_class in zip(of_trace, classes, strict=True)
        )
    return replace(profile, launches=tuple(launches), thresholds=asdict(thresholds))


def shares(launches: Iterable[Launch], *, by_time: bool = True) -> Shares:
    """Share of each class in the busy time of a request, or in the number of its launches."""
    total: Counter[KernelClass] = Counter()
    weights: defaultdict[KernelClass, float] = defaultdict(float)
    for launch in launches:
        total[launch.kernel_class] += 1
        weights[launch.kernel_class] += launch.duration_us if by_time else 1.0
    whole = sum(weights.values()) or 1.0
    return Shares(
        dominant=weights[KernelClass.DOMINANT] / whole,
        neutral=weights[KernelClass.NEUTRAL] / whole,
        insensitive=weights[KernelClass.INSENSITIVE] / whole,
    )


def evaluate(
    profiles: Mapping[str, Profile], candidates: Iterable[Thresholds]
) -> list[dict[str, float | str]]:
    """What candidate thresholds make of profiles: a flat row for each candidate, program and kind
    of request, with the thresholds and the shares by time and by count."""
    rows: list[dict[str, float | str]] = []
    for candidate in candidates:
        for name, profile in profiles.items():
            again = reclassified(profile, candidate)
            for trace in range(len(again.traces)):
                launches = again.trace_launches(trace)
                row: dict[str, float | str] = {"program": name, "trace": trace, **asdict(candidate)}
                for by, by_time in (("time", True), ("count", False)):
                    found = asdict(shares(launches, by_time=by_time))
                    row |= {f"{kernel_class}_{by}": share for kernel_class, share in found.items()}
                rows.append(row)
    return rows
