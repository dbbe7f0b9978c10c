"""What can run a cell: the simulator, or real processes on an emulated or a real GPU.

Everything else of `fico.bench` is the same for all devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fico.bench.arrivals import Times
from fico.bench.policy import Policy

LONGEST_WINDOWS = 20
"""How long a run may take, in windows: a policy may starve a tenant for ever."""


@dataclass(frozen=True, slots=True)
class Load:
    """One tenant of a run and its requests."""

    model: str
    """The name of its profile, as `str(Model)` gives it; in a plan any name."""
    quota_pct: float
    arrivals_us: Times | None
    """When requests come; None in closed loop, where one is issued when the last has ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run: tenants that share the GPU under a policy.

    Requests come within [0, window_us). The run goes on until those of open loops have ended, but
    no longer than LONGEST_WINDOWS; those of closed loops under way at the end are left out.
    """

    tenants: tuple[Load, ...]
    policy: Policy
    window_us: float
    seed: int
    """Of when the tenants in closed loop begin: not all at once."""


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one tenant's requests, in the order in which they came: those that ended."""

    arrival_us: Times
    """In closed loop, when the request was issued."""
    end_us: Times
    sm_us: float | None
    """Time its kernels had SMs, times their number; None where the device can't tell."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave: one entry a tenant, in order.

    Requests of an open loop that did not end are a problem.
    """

    tenants: tuple[Served, ...]
    problems: tuple[str, ...] = field(default=())
    """Why the run does not count, such as launches that were not confined; one line each."""
    clocks_mhz: tuple[int, int] | None = None
    """Lowest and highest clock of the SMs meanwhile; None where the device can't tell."""
    span_ns: tuple[int, int] | None = None
    """Of one run of real processes: when its times begin, and its end, CLOCK_MONOTONIC."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """By how much counters of Fico have grown, all tenants together; none outside of Fico."""


def any_open(job: Job) -> bool:
    """Whether requests of a tenant come on their own."""
    return any(load.arrivals_us is not None for load in job.tenants)


def left_behind(job: Job, served: Sequence[Served]) -> Iterator[str]:
    """A line for each tenant of whose requests some did not end."""
    for number, (load, one) in enumerate(zip(job.tenants, served, strict=True), 1):
        ended, came = len(one.end_us), 0 if load.arrivals_us is None else len(load.arrivals_us)
        if ended < came:
            yield (
                f"tenant {number} ({load.model}) ended {ended} of {came} requests within "
                f"{LONGEST_WINDOWS} windows"
            )


class Device(Protocol):
    """Runs jobs. One with several workers is sent to them, so it can be pickled."""

    @property
    def name(self) -> str:
        """sim, emulated or cuda."""

    @property
    def gpu(self) -> str:
        """The GPU's name, for people."""

    @property
    def most_workers(self) -> int:
        """How many jobs may run at once, each in a process of its own."""

    def alone_us(self, model: str) -> float:
        """About how long a request takes alone; it sizes windows. FicoError without a profile."""

    def check(self, policy: Policy) -> None:
        """UsageError for a policy or a setting that the device does not have."""

    def run(self, job: Job) -> Outcome:
        """Run a job to its end. FicoError if it cannot."""
