"""Becoming a tenant: the process joins a session and turns into the program."""

import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NoReturn

from fico import _native
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.gpus import driver_environment
from fico.runtime.lock import sessions_locked
from fico.runtime.preload import check_preload, with_preload
from fico.runtime.profiles import profile_of_program
from fico.runtime.program import Program, check_program
from fico.runtime.quota import NO_QUOTA, Quota
from fico.runtime.session import Session, abandon_session, arena_errors, ensure_session

_MIB = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INTERPRETER = re.compile(r"(python|pypy)[\d.]*|bash|sh|dash|node|perl|ruby")


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """What a tenant asks for."""

    command: tuple[str, ...]
    name: str | None = None
    """None: after the program, made unique."""
    quota: Quota = NO_QUOTA
    """None given: an equal share of what the others did not reserve."""
    memory_bytes: int = 0
    """0: no limit."""
    priority: int = 0
    """Lower goes first, as in CUDA."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of the caller's."""
    folder: str | None = None
    """Working directory; None: the caller's."""
    profiles: tuple[Path, ...] = ()
    """Of its program, as `fico profile` wrote them; none: one that is found by its name, if any."""
    force_profile: bool = False
    """Use profiles also if they are of another GPU or driver."""
    timeline: Path | None = None
    """Where its processes record what is decided; None: FICO_TIMELINE, if that is set."""

    def check(self) -> None:
        """UsageError for a name or a size that can't be."""
        if self.name is not None:
            check_name(self.name)
        if 0 < self.memory_bytes < _MIB:
            raise UsageError(f"a memory limit of {self.memory_bytes} bytes is below 1 MiB")


def check_name(name: str) -> None:
    """UsageError for what can't be a tenant's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"name {name!r} is not understood",
            "use 1 to 63 letters, digits, dots, dashes and underscores",
        )


def default_name(command: Sequence[str]) -> str:
    """A name for a command: its program's, or for an interpreter that of its script or module."""
    program = PurePath(command[0]).name
    if _INTERPRETER.fullmatch(program):
        for position, word in enumerate(command[1:], 1):
            if word == "-m" and position + 1 < len(command):
                program = command[position + 1].rpartition(".")[2]
                break
            if word == "-c":
                break
            if not word.startswith("-"):
                program = PurePath(word).stem
                break
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", program).lstrip("._-")[:56]
    return cleaned or "tenant"


def unique_name(wanted: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, … that is free."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


@dataclass(frozen=True, slots=True)
class Membership:
    """A tenant's place in the arena. It is given back when all its processes have ended."""

    name: str
    slot: int
    generation: int


def tenant_environment(
    session: Session, member: Membership, spec: TenantSpec, base: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a tenant's program."""
    environment = driver_environment(session.gpu.emulated, {**base, **spec.environment})
    environment["LD_PRELOAD"] = with_preload(
        environment.get("LD_PRELOAD", ""), _native.library_path()
    )
    environment["FICO_ARENA"] = str(session.arena_path)
    environment["FICO_TENANT"] = f"{member.slot}:{member.generation}"
    environment["CUDA_VISIBLE_DEVICES"] = session.gpu.uuid
    # A cap on threads would override the partitions.
    environment.pop("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", None)
    if session.mps is not None:
        environment.update(session.mps.environment())
    else:
        environment.setdefault("FICO_EMULATED_STATE", str(session.device_path))
    table = _profile_table(session, os.getpid())
    if table.exists():
        environment["FICO_PROFILE_TABLE"] = str(table)
    if spec.timeline is not None:
        environment["FICO_TIMELINE"] = str(spec.timeline.absolute())
    if spec.memory_bytes:
        environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={spec.memory_bytes // _MIB}M"
    return environment


def _profile_table(session: Session, pid: int) -> Path:
    return session.folder / f"profile-{pid}"


def prepare_profile(
    session: Session, spec: TenantSpec, pid: int, report: Callable[[str], None]
) -> None:
    """Lay the tenant's profiles ready for its program, which process `pid` will become.

    Where none is given, the one that is found by the tenant's name, and a line says so. FicoError
    if one that was given can't be read or is of another GPU or driver.
    """
    table = _profile_table(session, pid)
    table.unlink(missing_ok=True)  # of an earlier process with this number
    profiles = spec.profiles
    if not profiles:
        found = profile_of_program(spec.name or default_name(spec.command))
        if found is None:
            return
        profiles = (found,)
    from fico.runtime.kernel_table import write_kernel_table

    try:
        write_kernel_table(profiles, session.gpu, table, force=spec.force_profile)
    except FicoError as error:
        if spec.profiles:
            raise
        report(f"profile {profiles[0]} is not used: {error.message}")
        return
    if not spec.profiles:
        report(f"using the profile {profiles[0]}")


def check_startable(spec: TenantSpec, emulated: bool) -> Program:
    """Everything about a tenant that can be wrong before there is a session. FicoError if it is."""
    spec.check()
    if spec.folder is not None and not os.path.isdir(spec.folder):
        raise FicoError(f"the working directory {spec.folder} does not exist", "make it")
    environment = driver_environment(emulated, {**os.environ, **spec.environment})
    program = check_program(spec.command, environment, spec.folder)
    check_preload(environment, program)
    if spec.timeline is not None:
        make_timeline_folder(spec.timeline)
    return program


def make_timeline_folder(folder: Path) -> None:
    """FicoError if timelines can't be recorded there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FicoError(
            f"no timeline can be recorded in {folder}: {error.strerror}", "choose another folder"
        ) from None


def join(arena: _native.Arena, spec: TenantSpec, pid: int) -> Membership:
    """Make a process a tenant. FicoError if the session refuses it."""
    with arena_errors():
        arena.sweep()
        taken = {tenant["name"] for tenant in arena.tenants()}
        name = spec.name or unique_name(default_name(spec.command), taken)
        slot, generation = arena.join(
            name,
            pid,
            spec.quota.ppm,
            spec.quota.units,
            spec.priority,
            spec.memory_bytes,
        )
    return Membership(name, slot, generation)


def execute(program: Program, spec: TenantSpec, environment: Mapping[str, str]) -> NoReturn:
    """Turn this process into the program. OSError if the system refuses."""
    # Python ignores these two, and what is ignored stays so in the program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(program.path, spec.command, environment)


def become_tenant(
    spec: TenantSpec, selector: str, policy: str | None, report: Callable[[str], None]
) -> NoReturn:
    """Join the GPU's session, starting it if need be, and turn this process into the program.

    `report` takes a line for the person who looks on. Returns only by FicoError, and then nothing
    that this call started is left.
    """
    program = check_startable(spec, selector == "emulated")
    with sessions_locked():
        session, arena, started = ensure_session(selector, policy)
        try:
            prepare_profile(session, spec, os.getpid(), report)
            member = join(arena, spec, os.getpid())
        except BaseException:
            if started:
                abandon_session(session)
            raise
    environment = tenant_environment(session, member, spec, os.environ)
    try:
        execute(program, spec, environment)
    except OSError as error:
        with sessions_locked():
            arena.leave(member.slot, member.generation)
            if started and not arena.tenants():
                abandon_session(session)
        raise FicoError(f"{program.path} cannot be run: {error.strerror}") from None
