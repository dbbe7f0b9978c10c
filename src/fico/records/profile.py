"""What `fico profile` learns of a program: its requests, and every kernel launch in them.

`docs/profile-format.md` describes the file that holds this; `fico.runtime.profile_file` reads and
writes it. Times are in microseconds, shares between 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fico.records.gpu import Gpu

VERSION = 1


class KernelClass(StrEnum):
    """How critical a kernel is for the latency of its request."""

    DOMINANT = "dominant"
    """Latency falls strongly with more SMs, and it is a large part of the request."""
    NEUTRAL = "neutral"
    INSENSITIVE = "insensitive"
    """Nearly no gain from more SMs."""


class Bound(StrEnum):
    """What limits a kernel on all SMs."""

    LATENCY = "latency"
    COMPUTE = "compute"
    MEMORY = "memory"


class Resource(StrEnum):
    """What tenants share beside the SMs; the order of `sensitivity` and `pressure`."""

    COMPUTE = "compute"
    MEMORY = "memory"
    L2 = "l2"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour that a program was profiled beside."""

    resource: Resource
    strength: float
    """The part of the resource that it asks for, 0 to 1."""
    writes: bool = False
    """Whether it copies what it reads to other memory."""

    @property
    def work(self) -> str:
        """What it does, in a word."""
        return "copy" if self.writes else str(self.resource)


NEIGHBOURS = (
    *(Neighbour(resource, strength) for resource in Resource for strength in (0.5, 1.0)),
    *(Neighbour(Resource.MEMORY, strength, writes=True) for strength in (0.5, 1.0)),
)
"""In the order of `Launch.slowdowns`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One operation of a request on the GPU, in the order in which they start."""

    trace: int
    """Index of the request's kind in `Profile.traces`."""
    position: int
    """Place in the request, from 0."""
    kind: str
    """`kernel`, `copy` or `fill`; copies and fills have neither grid nor scaling."""
    name: str
    """As a person writes it (demangled)."""
    mangled: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    cluster: tuple[int, int, int]
    """Blocks of a thread-block cluster; (1, 1, 1) without."""
    registers: int
    """Per thread."""
    shared_bytes: int
    """Shared memory of a block, static and dynamic."""
    blocks_per_sm: int
    """How many of its blocks one SM holds at once, by registers, threads and shared memory."""
    stream: int
    """Streams of the request, numbered from 0 in order of first use."""
    from_graph: bool
    gap_us: float
    """From the latest end of the launches before it to its start, on all units: median. Negative
    where they overlap; 0 for the first of a request."""
    duration_us: float
    """Median on all units, alone."""
    spread_us: float
    """Distance between the quartiles of that."""
    measured_us: tuple[float, ...]
    """Medians on `Profile.measured_units`; NaN where there is none."""
    scaling_us: tuple[float, ...]
    """The fitted curve: duration on 1, 2, … all units."""
    fit_error: float
    """How far the fit is off at points that were left out of it: relative, median."""
    right_units: int
    """Fewest units at which it is at most `Profile.epsilon` slower than on all of them."""
    slowdowns: tuple[float, ...]
    """Duration beside each of NEIGHBOURS over duration without one, on the same units; NaN if not
    measured."""
    sensitivity: tuple[float, float, float]
    """Relative growth of the duration beside a neighbour that uses a resource fully."""
    pressure: tuple[float, float, float]
    """The part of each resource that it uses on half of the units."""
    bound: Bound
    kernel_class: KernelClass


@dataclass(frozen=True, slots=True)
class Trace:
    """One kind of request: launches that repeat between idle points."""

    launches: int
    requests: int
    """How often it was seen in full on all units."""
    from_graph: bool
    """Whether most of its kernels come from CUDA graphs."""
    latency_us: tuple[float, ...]
    """From the first start to the last end, on `Profile.measured_units`: median."""
    period_us: tuple[float, ...]
    """From one request to the next while nothing is traced, on `Profile.measured_units`; NaN if
    the program does not issue them one after another."""
    pressure: tuple[float, float, float]
    """Mean over the request of the part of each resource it uses, on half of the units."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profiled program."""

    gpu: Gpu
    cuda: str
    program: str
    arguments: tuple[str, ...]
    created: str
    """ISO 8601, UTC."""
    epsilon: float
    measured_units: tuple[int, ...]
    """Sizes of the partitions that durations were measured on; the last is all units."""
    shared_units: int
    """Units the program had when it was measured beside neighbours, which had the others."""
    traces: tuple[Trace, ...]
    launches: tuple[Launch, ...]
    """Of all traces, in order of trace and position."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Of the classes, as they were when they were set."""
    version: int = VERSION

    def trace_launches(self, trace: int) -> tuple[Launch, ...]:
        """The launches of one kind of request, in order."""
        return tuple(launch for launch in self.launches if launch.trace == trace)
