"""The native part: the arena of a session, the scheduler in virtual time, where libraries lie."""

from typing import Any, Literal, Protocol, TypedDict

import numpy.typing as npt

Array = npt.NDArray[Any]

class ArenaError(Exception):
    """The arena is damaged, of another version, or refuses what was asked; with the remedy."""

class TenantRow(TypedDict):
    """One tenant as the arena shows it now. Times are seconds of CLOCK_REALTIME."""

    slot: int
    generation: int
    name: str
    pid: int
    """The process that joined (after exec: the program itself)."""
    processes: list[int]
    """Live processes of the tenant that use CUDA."""
    alive: bool
    quota_ppm: int
    """Share of the SMs in millionths; 0 where the quota is in units or none was given."""
    quota_units: int
    """Quota given in units; 0 where it is a share or none was given."""
    units: tuple[int, int]
    """The tenant's own units [lo, hi) under the present quotas."""
    held: list[int]
    """Units claimed at present."""
    sms: int
    """SMs of its own units."""
    priority: int
    progress: tuple[int, int, int]
    """Kind of request, launch in it and launches of it, each from 1; zeros without a profile."""
    remaining_us: float
    """Of the present request, alone on all units."""
    learned: float
    """How many times as long as the profiles say its works take on units of its own."""
    crowded: bool
    """Whether its requests took longer than on its slice where all units were shared."""
    memory_bytes: int
    """Limit set at start; 0 is none."""
    joined_s: float
    counters: dict[str, int]
    """launches, graph_launches, hops, uncovered, and every fall-back by its name."""
    notes: list[str]
    """Human-readable first occurrences, e.g. which entry or library was not covered."""

class Arena:
    """The shared memory of one session (one GPU). All methods are safe between processes."""

    @staticmethod
    def create(
        path: str,
        gpu_uuid: str,
        gpu_name: str,
        driver_version: str,
        sms_per_unit: list[int],
        emulated: bool,
        policy: str = "static",
    ) -> Arena:
        """Make and map a new arena, mode 0600. FileExistsError if there is one, else OSError."""
    @staticmethod
    def open(path: str) -> Arena:
        """Map an arena. FileNotFoundError, PermissionError, ArenaError (damaged, other version)."""
    path: str
    gpu_uuid: str
    gpu_name: str
    driver_version: str
    sms_per_unit: list[int]
    emulated: bool
    created_s: float
    @property
    def policy(self) -> str: ...
    @property
    def policy_settings(self) -> dict[str, float]:
        """Those that were given; the others have their initial values."""
    def set_policy(self, policy: str, settings: dict[str, float] = ...) -> None:
        """Set a policy of `live_policies()`. ArenaError: no such policy, no such setting."""
    def join(
        self,
        name: str,
        pid: int,
        quota_ppm: int = 0,
        quota_units: int = 0,
        priority: int = 0,
        memory_bytes: int = 0,
    ) -> tuple[int, int]:
        """Become a tenant; gives (slot, generation). Dead tenants are swept first.

        ArenaError: name taken, quotas beyond 100% (the text has the numbers), no slot or unit left.
        """
    def leave(self, slot: int, generation: int) -> None:
        """End a tenant; nothing happens if it has gone already."""
    def update(
        self,
        name: str,
        quota_ppm: int | None = None,
        quota_units: int | None = None,
        priority: int | None = None,
        new_name: str | None = None,
    ) -> None:
        """Change a live tenant; one kind of quota clears the other. ArenaError as in join."""
    def sweep(self) -> list[str]:
        """Remove dead tenants and give their units back; returns their names."""
    def tenants(self) -> list[TenantRow]:
        """All tenants, in the order of their slots, dead ones included until they are swept."""

def share_units(quotas: list[tuple[int, int]], unit_count: int) -> list[int]:
    """Units for tenants with these quotas, each (ppm, units) or (0, 0); empty if they don't fit."""

def pace_settings() -> list[SettingRow]:
    """What all policies that decide launch by launch have in a session, besides their own."""

def live_policies() -> list[str]:
    """Names of the policies that a session can have."""

def counter_meanings() -> dict[str, tuple[bool, str]]:
    """For each counter of a tenant: whether it counts a fall-back, and what it means."""

TableRow = tuple[str, tuple[int, int, int], tuple[int, int, int]]
"""A launch of a kernel table: mangled name, grid, block."""

def write_kernel_table(path: str, traces: list[tuple[list[TableRow], SimTrace]]) -> None:
    """Write what is known of each kind of request for the preloaded library: its launches, at
    least one, and a trace with as many. OSError; ValueError."""

def launch_signature(mangled: str, grid: tuple[int, int, int], block: tuple[int, int, int]) -> int:
    """What a launch is recognised by."""

class Tracker:
    """Where a program is in the requests of a kernel table, from nothing but its launches."""

    def __init__(self, path: str) -> None:
        """Of a file of write_kernel_table. OSError; RuntimeError if it is damaged."""
    def trace(self, index: int) -> tuple[int, int, bool]:
        """First launch of a kind of request, one past its last, and whether it is a CUDA graph.
        IndexError."""
    def launch(self, index: int) -> tuple[Kernel, float]:
        """What is known of a launch of the table, and what is left of its request from there on in
        µs, alone on all units. IndexError."""
    def launched(self, signature: int) -> tuple[int | None, bool, bool]:
        """The launch's place in the table (all traces in a row; None: it is not there), whether
        something else was expected, and whether a request is complete with it."""
    def trace_of_graph(self, signatures: list[int]) -> int | None:
        """The kind of request that has exactly these launches, one that came as a graph before one
        that was profiled launch by launch."""

class Seat:
    """A tenant's seat in the schedule of its session: what the preloaded library runs, here for
    tests. Times are in µs of one clock for all."""

    def __init__(self, arena: str, slot: int) -> None:
        """Of a tenant in an arena. OSError, ArenaError."""
    def refresh(self) -> bool:
        """Take over changes of the session. False: it is not scheduled, or another process of the
        tenant has the seat."""
    def begin(self, now_us: float, trace: SimTrace) -> None:
        """A request begins."""
    def want(self, now_us: float) -> tuple[tuple[int, int], int, bool, tuple[int, int]] | None:
        """Units [lo, hi), priority, whether they are claimed, works [first, last); None: hold."""
    def advance(self, now_us: float) -> None:
        """The device can take what comes next."""
    def end(self, now_us: float) -> None:
        """The request has ended."""
    def beat(self) -> None:
        """Give a sign of life."""
    def learn(self, took_us: float, claimed_us: float) -> None:
        """Works on units of its own took so many times as long as `claimed_us`."""
    claimed_us: float
    """By the estimate, how long the last decision takes on the units that it claims; else 0."""
    slice_us: float
    """By the estimate, what is left of the request on the tenant's slice."""
    works: int
    is_contended: bool
    has_company: bool

def demangle(name: str) -> str:
    """The C++ name as a person writes it; other names as they are."""

def library_path() -> str:
    """Path of libfico.so, which is installed beside this module."""

def emulated_driver_dir() -> str:
    """Folder that holds the emulated libcuda.so.1, installed beside this module."""

def collector_path() -> str:
    """Path of libfico_collector.so, which is installed beside this module."""

def neighbour_path() -> str:
    """Path of fico-neighbour, which is installed beside this module."""

def wake(address: int) -> None:
    """Wake all that wait for the 32-bit word at this address of shared memory (futex)."""

class Kernel:
    """What is known of the next work of a tenant: one launch, or a segment of a graph as one."""

    def duration_us(self, units: int) -> float:
        """Alone on so many units, from 1. IndexError beyond 64."""
    @property
    def right_units(self) -> int: ...
    @property
    def kernel_class(self) -> int:
        """0 neutral, 1 dominant, 2 insensitive."""
    @property
    def bound(self) -> int:
        """0 latency, 1 compute, 2 memory."""

class View:
    """What a policy sees when tenant `self` wants to launch. Valid during the call only."""

    @property
    def now_us(self) -> float: ...
    @property
    def self(self) -> int:
        """Slot of the tenant that asks."""
    @property
    def unit_count(self) -> int: ...
    @property
    def count(self) -> int:
        """Slots that were ever used; the methods below take one of them."""
    def present(self, slot: int) -> bool: ...
    def active(self, slot: int) -> bool:
        """In a request."""
    def slice(self, slot: int) -> tuple[int, int]:
        """The units it owns, [lo, hi)."""
    def granted(self, slot: int) -> tuple[int, int]:
        """The units of its present grant, empty if there is none."""
    def remaining_us(self, slot: int) -> float:
        """Of its request, alone on all units."""
    def due_us(self, slot: int) -> float:
        """When its own slice, with nobody beside it, would have ended the request."""
    def kernel(self, slot: int) -> Kernel | None:
        """Its present or next work."""

class Grant:
    """What the tenant may do with its next work."""

    def __init__(
        self,
        units: tuple[int, int],
        level: int = 0,
        exclusive: bool = False,
        span_us: float = 0.0,
    ) -> None:
        """Run on units [lo, hi) at priority `level`, -5 (first) to 0.

        `exclusive`: claim them, less what others claim. `span_us`: how much of a graph may go out
        in one piece, alone on all units; from 1e300 on the whole request.
        """
    @staticmethod
    def hold(until_us: float) -> Grant:
        """Wait: decide again when anything has changed, or at `until_us`."""

class Decides(Protocol):
    """A policy written in Python. What it raises comes out of `simulate`."""

    def decide(self, view: View, /) -> Grant: ...

TimelineField = tuple[str, str, int]
"""Name, type as numpy writes it, offset."""

class TimelineLayout(TypedDict):
    """How the file of a timeline is laid out: a header, and a ring of records."""

    magic: bytes
    version: int
    header_bytes: int
    header: list[TimelineField]
    record_bytes: int
    record: list[TimelineField]
    events: dict[str, int]
    """Number of each kind of record."""
    flags: dict[str, int]
    """Bit of each flag."""

def timeline_layout() -> TimelineLayout:
    """Of native/seat/timeline_file.hpp, which says what everything means."""

class TimelineFile:
    """The writer, which the preloaded library has; here for tests."""

    def __init__(
        self, folder: str, tenant: str, unit_count: int, clock_scale: float, capacity: int
    ) -> None:
        """Make FOLDER/TENANT-PID.timeline, or with a number behind it. OSError."""
    def add(self, record: bytes) -> None:
        """One record. ValueError if it has another size."""
    path: str

class SimTrace:
    """One kind of request for the simulator."""

    def __init__(
        self,
        duration_us: Array,
        gap_us: Array,
        blocks: Array,
        blocks_per_sm: Array,
        threads: Array,
        registers: Array,
        shared_bytes: Array,
        cluster: Array,
        sensitivity: Array,
        pressure: Array,
        right_units: Array,
        kernel_class: Array,
        bound: Array,
        from_graph: bool = True,
    ) -> None:
        """C-contiguous arrays with a row a launch. ValueError names what does not fit.

        duration_us: float64 [launch, unit], alone on 1, 2, … all units. gap_us: float64, from the
        end of the launch before. blocks, blocks_per_sm, right_units: uint32; threads and
        shared_bytes of a block and registers of a thread, uint32: what a block takes of an SM.
        cluster: blocks of a cluster, uint32.
        sensitivity, pressure: float64 [launch, 3], of compute, memory, L2. kernel_class, bound:
        uint8, as in `Kernel`.
        """
    def __len__(self) -> int: ...

class SimCosts:
    """What the mechanism costs, in µs. What is not given is as measured or calibrated."""

    shared_gap_us: float
    turn_us: float

    def __init__(
        self,
        boundary_us: float = 2.0,
        hop_us: float = 0.2,
        resume_us: float = 3.0,
        stream_gap_us: float = 1.0,
        request_us: float = 30.0,
        cold_us: float = 85.0,
        cold_after_us: float = 45_000.0,
        shared_gap_us: float = ...,
        turn_us: float = ...,
        mps_us: float = ...,
    ) -> None:
        """Between pieces of a graph; of a change of partition; of a hold that ends; between kernels
        of an eager program; the host's part of a request, what a pause adds to it at most, and
        the pause after which 63% of that is there; how much longer each gap is while other tenants'
        kernels run, and for each that runs on the same units and does not come after."""

class DeviceSettings:
    """Of the device model: docs/device-model.md. What is not given is as calibrated."""

    overlap: float
    dense_from: float
    activity_power: float
    compute: float
    memory: float
    l2: float

    def __init__(
        self,
        overlap: float = ...,
        dense_from: float = ...,
        activity_power: float = ...,
        compute: float = ...,
        memory: float = ...,
        l2: float = ...,
    ) -> None: ...

class SimTenant:
    """A program that serves its requests one after another."""

    def __init__(
        self,
        traces: list[SimTrace],
        units: tuple[int, int],
        arrivals_us: list[float] | None = None,
        requests: int = 0,
        trace_of_request: list[int] = [],
        priority: int = 0,
        dies_us: float = 1e300,
    ) -> None:
        """`units`: the slice [lo, hi) that it owns.

        Without `arrivals_us` (closed loop) the next request comes when one ends, until every tenant
        has ended its `requests`. `trace_of_request` is repeated; empty: always the first trace.
        """

class SimTenantResult(TypedDict):
    """Of one tenant; arrays of float64, an entry for each request that ended."""

    arrival_us: Array
    start_us: Array
    """When the program turned to it."""
    end_us: Array
    sm_time_us: float
    """SMs that its kernels could fill of those granted, times duration."""
    held_us: float
    holds: int
    decisions: int
    hops: int

class SimPiece(TypedDict):
    """One grant and the work that went out with it."""

    tenant: int
    launches: tuple[int, int]
    """[first, last) of its trace."""
    units: tuple[int, int]
    level: int
    exclusive: bool
    wanted_us: float
    granted_us: float
    ended_us: float
    """-1: it had not ended when the run did, or its tenant died."""

class SimResult(TypedDict):
    tenants: list[SimTenantResult]
    timeline: list[SimPiece]
    end_us: float

def simulate(
    sms_per_unit: list[int],
    tenants: list[SimTenant],
    policy: str | Decides,
    settings: dict[str, float] = {},
    seed: int = 0,
    until_us: float = 1e300,
    costs: SimCosts = ...,
    device: DeviceSettings = ...,
    segment_us: tuple[float, float] = (50.0, 150.0),
    quota_changes: list[tuple[float, list[tuple[int, int]]]] = [],
    timeline: bool = False,
) -> SimResult:
    """Tenants sharing one GPU in virtual time; deterministic. The GIL is released meanwhile.

    `seed` sets when tenants in closed loop begin. `segment_us`: shortest and longest segment of a
    graph. `quota_changes`: (time, the slices of all tenants). ValueError: unknown policy or
    setting, or a setup that makes no sense; the text says which.
    """

class SettingRow(TypedDict):
    name: str
    type: Literal["bool", "int", "float"]
    initial: float
    lowest: float
    highest: float
    meaning: str

class PolicyRow(TypedDict):
    name: str
    idea: str
    settings: list[SettingRow]

def policies() -> list[PolicyRow]:
    """All built-in policies with their settings."""
