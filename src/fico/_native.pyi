"""The native part: the arena of a session, and where the shared libraries lie."""

from typing import TypedDict

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
    def set_policy(self, policy: str) -> None:
        """Set mps, static or shuffle. ArenaError for any other name."""
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

def counter_meanings() -> dict[str, tuple[bool, str]]:
    """For each counter of a tenant: whether it counts a fall-back, and what it means."""

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
