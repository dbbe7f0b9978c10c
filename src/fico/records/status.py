"""What `fico status --json` prints. Fields are added, never renamed, within a version."""

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True)
class FallBack:
    """One way in which work of a tenant was not handled as asked, and how often."""

    name: str
    count: int
    meaning: str


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """One tenant."""

    name: str
    pid: int
    processes: tuple[int, ...]
    """Live processes that use CUDA."""
    quota: str | None
    """As it was given: a percentage or units; None where none was given."""
    units: tuple[int, int]
    """Own units, first and one past the last."""
    held_units: int
    sms: int
    priority: int
    memory_bytes: int | None
    joined_s: float
    """Seconds since 1970."""
    launches: int
    """Kernel launches seen."""
    graph_launches: int
    request: tuple[int, int, int] | None
    """Kind of the present request, launch in it, launches of it, each from 1; None without a
    profile, or before anything of it was launched."""
    remaining_us: float | None
    """Of the present request, alone on all units; None as `request`."""
    learned: float
    """How many times as long as the profiles say its works take on units of its own; 1: nothing was
    learned."""
    crowded: bool
    """Whether its requests took longer than on its slice where all units were shared: policy fico
    gives such a tenant a part."""
    counters: dict[str, int]
    fall_backs: tuple[FallBack, ...]
    notes: tuple[str, ...]
    """First occurrences in words, such as which library was not covered."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One session: the tenants of one GPU."""

    gpu_uuid: str
    gpu_index: int
    gpu_name: str
    driver_version: str
    emulated: bool
    policy: str | None
    policy_settings: dict[str, float]
    """Those that were given."""
    sms_per_unit: tuple[int, ...]
    mps_pid: int | None
    created_s: float | None
    tenants: tuple[TenantStatus, ...]
    problem: str | None
    """What is wrong with the session and how to mend it; None if nothing is."""
    version: int = VERSION
