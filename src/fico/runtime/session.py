"""Sessions: found, started and ended. One per GPU and user.

A session is its arena in shared memory, and MPS on a real GPU. Whatever dies at whatever moment,
the next command finds out from these two and mends it: nothing is ever deleted by hand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fico import _native
from fico.records.gpu import Gpu
from fico.records.session import SessionRecord
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED, find_gpu
from fico.runtime.lock import sessions_locked
from fico.runtime.mps import Mps
from fico.runtime.paths import arena_path, runtime_dir, session_dir, shm_dir
from fico.runtime.policies import with_settings
from fico.runtime.processes import look_up

DEFAULT_POLICY = "static"

SHM_BYTES_AT_LEAST = 1 << 20
_TERMINATE_WITHIN_S = 5.0
_KILL_WITHIN_S = 5.0


@contextlib.contextmanager
def arena_errors() -> Iterator[None]:
    """Turn the native module's errors into FicoError."""
    try:
        yield
    except _native.ArenaError as error:
        raise FicoError(str(error)) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_space(0) from None
        raise FicoError(error.strerror or str(error)) from None


@dataclass(frozen=True)
class Session:
    """A session's places; whether it runs is asked of them."""

    gpu: Gpu

    @property
    def key(self) -> str:
        """Names its folder and its arena."""
        return EMULATED if self.gpu.emulated else self.gpu.uuid

    @property
    def folder(self) -> Path:
        """What belongs to the session, except the arena."""
        return session_dir(self.key)

    @property
    def arena_path(self) -> Path:
        """Its shared memory."""
        return arena_path(self.key)

    @property
    def device_path(self) -> Path:
        """What the processes of an emulated GPU share; goes with the arena."""
        return self.arena_path.with_name(f"{self.arena_path.name}.device")

    @property
    def mps(self) -> Mps | None:
        """Its MPS daemon; an emulated GPU has none."""
        return None if self.gpu.emulated else Mps(self.folder)

    def arena(self) -> _native.Arena:
        """Map the arena; FicoError with the reason."""
        with arena_errors():
            return _native.Arena.open(str(self.arena_path))

    def tenants(self) -> list[_native.TenantRow]:
        """Its live tenants; none where there is no arena. FicoError with the reason."""
        if not self.arena_path.exists():
            return []
        arena = self.arena()
        with arena_errors():
            arena.sweep()
        return arena.tenants()

    def lost_mps(self) -> bool:
        """Whether its MPS has ended under it: then its tenants have lost the GPU."""
        return self.mps is not None and self.mps.pid() is None


def known_sessions(remnants: bool = False) -> list[Session]:
    """Sessions that have an arena, usable or not, in the order of their GPUs.

    With `remnants` also what is left of one that was killed while it started or ended.
    """
    prefix = arena_path("").name
    # A name with a dot is something beside an arena.
    keys = {path.name.removeprefix(prefix) for path in shm_dir().glob(f"{prefix}*")}
    keys = {key for key in keys if "." not in key}
    folder = runtime_dir(create=False)
    if remnants and folder.is_dir():
        keys |= {path.name for path in folder.iterdir() if path.is_dir()}
    sessions = [Session(_described(key)) for key in keys]
    return sorted(sessions, key=lambda session: (session.gpu.emulated, session.gpu.index))


def _described(key: str) -> Gpu:
    """The GPU of a session: by its record, else by its arena, else by its name alone."""
    record = SessionRecord.load(session_dir(key) / "session.json")
    if record is not None:
        return record.gpu
    emulated = key == EMULATED
    try:
        arena = _native.Arena.open(str(arena_path(key)))
    except (_native.ArenaError, OSError):
        return Gpu(-1, key, f"GPU {key}", "unknown", (), emulated)
    sms_per_unit = tuple(arena.sms_per_unit)
    return Gpu(-1, arena.gpu_uuid, arena.gpu_name, arena.driver_version, sms_per_unit, emulated)


def known_session(selector: str, remnants: bool = False) -> Session | None:
    """The session for a GPU given as index, UUID or `emulated`.

    The driver is asked only if a session has lost the record of its index.
    """
    sessions = known_sessions(remnants)
    for session in sessions:
        if selector.lower() == session.key.lower():
            return session
        if not session.gpu.emulated and selector == str(session.gpu.index):
            return session
    if selector.isdecimal() and any(session.gpu.index < 0 for session in sessions):
        with contextlib.suppress(FicoError):
            found = Session(find_gpu(selector))
            return found if found.key in {session.key for session in sessions} else None
    return None


def ensure_session(
    selector: str, policy: str | None, settings: Mapping[str, float] | None = None
) -> tuple[Session, _native.Arena, bool]:
    """The GPU's session, started if there is none, and whether it was. The caller holds the lock.

    `settings` are those of the policy; None: whatever it has.

    FicoError, with nothing left behind, if it can't be started, is damaged, or has another policy.
    """
    # The driver is asked only if need be, since that takes longer than all the rest.
    session = known_session(selector) or Session(find_gpu(selector))
    if session.arena_path.exists():
        arena = _usable_arena(session)
        if arena is not None:
            _check_policy(session, arena, policy, settings)
            _keep_record(session)
            return session, arena, False
    arena = _start(session, policy or DEFAULT_POLICY, settings or {})
    return session, arena, True


def _check_policy(
    session: Session,
    arena: _native.Arena,
    policy: str | None,
    settings: Mapping[str, float] | None,
) -> None:
    """FicoError if a session has another policy than the one asked for, or with other settings."""
    if policy is None:
        return
    present = arena.policy_settings
    if arena.policy != policy or (settings is not None and present != settings):
        wanted = with_settings(policy, settings or {})
        options = "".join(f" --setting {key}={value:g}" for key, value in (settings or {}).items())
        raise FicoError(
            f"the session on {session.gpu.name} has policy "
            f"{with_settings(arena.policy, present)}, not {wanted}",
            f"change it for all its tenants with 'fico set --policy {policy}{options}'",
        )


def _keep_record(session: Session) -> None:
    """Write the record again if something has cleaned it away, as may happen in /tmp."""
    path = session.folder / "session.json"
    if not path.exists() and session.gpu.index >= 0:
        session.folder.mkdir(mode=0o700, exist_ok=True)
        SessionRecord(session.gpu).save(path)


def _usable_arena(session: Session) -> _native.Arena | None:
    """The arena of a session that runs; None if the session is a dead one that can be replaced."""
    arena = session.arena()
    if not session.lost_mps():
        return arena
    tenants = session.tenants()
    if tenants:
        names = ", ".join(tenant["name"] for tenant in tenants)
        raise FicoError(
            f"MPS of the session on {session.gpu.name} has ended under its tenants ({names})",
            "end them with 'fico down --force'",
        )
    return None


def _start(session: Session, policy: str, settings: Mapping[str, float]) -> _native.Arena:
    """Everything that a session is, the arena last: who sees an arena sees a whole session."""
    gpu = session.gpu
    _check_shm()
    try:
        _remove(session)
        runtime_dir()
        session.folder.mkdir(mode=0o700)
        SessionRecord(gpu).save(session.folder / "session.json")
        if session.mps is not None:
            session.mps.start(gpu.uuid)
        with arena_errors():
            arena = _native.Arena.create(
                str(session.arena_path),
                gpu.uuid,
                gpu.name,
                gpu.driver_version,
                list(gpu.sms_per_unit),
                gpu.emulated,
                policy,
            )
            if settings:
                arena.set_policy(policy, dict(settings))
            return arena
    except BaseException:
        _remove(session)
        raise


def _check_shm() -> None:
    folder = shm_dir()
    try:
        space = os.statvfs(folder)
    except OSError as error:
        raise FicoError(
            f"shared memory {folder} cannot be used: {error.strerror}",
            "mount a tmpfs there, or set FICO_SHM_DIR",
        ) from None
    free_bytes = space.f_bavail * space.f_frsize
    if free_bytes < SHM_BYTES_AT_LEAST:
        raise _no_space(free_bytes)


def _no_space(free_bytes: int) -> FicoError:
    return FicoError(
        f"there is no space in {shm_dir()}: {free_bytes // 1024} KiB are free, "
        f"{SHM_BYTES_AT_LEAST // 1024} KiB are needed",
        "free some, or give the container more (docker run --shm-size=1g)",
    )


def _remove(session: Session) -> None:
    """Take everything of a session away; its arena first, so that nobody joins meanwhile."""
    session.arena_path.unlink(missing_ok=True)
    # The state of an emulated GPU, and drafts of arenas whose maker was killed.
    for beside in shm_dir().glob(f"{session.arena_path.name}.*"):
        beside.unlink(missing_ok=True)
    if session.mps is not None:
        session.mps.stop()
    shutil.rmtree(session.folder, ignore_errors=True)


def abandon_session(session: Session) -> None:
    """Undo a start, when what it was started for has failed. The caller holds the lock."""
    _remove(session)


def end_session(session: Session, force: bool) -> list[str]:
    """End a session and, with `force`, its tenants; gives the names of those that were ended.

    FicoError if tenants live and `force` is not set, or if one survives SIGKILL.
    """
    with sessions_locked():
        try:
            tenants = session.tenants()
        except FicoError:
            if not force:
                raise
            tenants = []
        if tenants and not force:
            names = ", ".join(tenant["name"] for tenant in tenants)
            raise FicoError(
                f"the session on {session.gpu.name} has tenants: {names}",
                "end them first, or all at once with 'fico down --force'",
            )
        _end_processes(session, {pid for tenant in tenants for pid in _processes(tenant)})
        _remove(session)
        return [tenant["name"] for tenant in tenants]


def _processes(tenant: _native.TenantRow) -> set[int]:
    return {tenant["pid"], *tenant["processes"]}


def _end_processes(session: Session, pids: set[int]) -> None:
    """SIGTERM, and SIGKILL for those it doesn't end."""
    pids = {pid for pid in pids if _is_ours(pid)}
    if pids and session.mps is not None:
        session.mps.terminate_clients(pids)
    for number, within_s in (
        (signal.SIGTERM, _TERMINATE_WITHIN_S),
        (signal.SIGKILL, _KILL_WITHIN_S),
    ):
        for pid in pids:
            if _is_ours(pid):
                os.kill(pid, number)
        deadline = time.monotonic() + within_s
        while pids and time.monotonic() < deadline:
            pids = {pid for pid in pids if look_up(pid) is not None}
            time.sleep(0.01)
    if pids:
        raise FicoError(f"process {min(pids)} does not end, even by SIGKILL", "see dmesg")


def _is_ours(pid: int) -> bool:
    process = look_up(pid)
    return process is not None and process.user == os.getuid() and pid != os.getpid()
