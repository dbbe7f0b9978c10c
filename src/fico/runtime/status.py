"""What sessions and tenants do now, as records."""

from __future__ import annotations

from fico import _native
from fico.records.status import FallBack, SessionStatus, TenantStatus
from fico.runtime.errors import FicoError
from fico.runtime.quota import Quota
from fico.runtime.session import Session, known_sessions


def all_statuses() -> list[SessionStatus]:
    """Every session of this user; a session that can't be read says why in `problem`."""
    return [session_status(session) for session in known_sessions()]


def session_status(session: Session) -> SessionStatus:
    """One session."""
    gpu = session.gpu
    policy = created_s = problem = None
    settings: dict[str, float] = {}
    tenants: list[TenantStatus] = []
    try:
        tenants = [tenant_status(row) for row in session.tenants()]
        arena = session.arena()
        policy, created_s = arena.policy, arena.created_s
        settings = arena.policy_settings
        if session.lost_mps():
            problem = "its MPS has ended: end the session with 'fico down --force'"
    except FicoError as error:
        problem = str(error)
    mps = session.mps
    return SessionStatus(
        gpu_uuid=gpu.uuid,
        gpu_index=gpu.index,
        gpu_name=gpu.name,
        driver_version=gpu.driver_version,
        emulated=gpu.emulated,
        policy=policy,
        policy_settings=settings,
        sms_per_unit=gpu.sms_per_unit,
        mps_pid=mps.pid() if mps is not None else None,
        created_s=created_s,
        tenants=tuple(tenants),
        problem=problem,
    )


def tenant_status(row: _native.TenantRow) -> TenantStatus:
    """One tenant, from its row of the arena."""
    quota = Quota(row["quota_ppm"], row["quota_units"])
    meanings = _native.counter_meanings()
    counters = row["counters"]
    fall_backs = tuple(
        FallBack(name, counters[name], meaning)
        for name, (is_fall_back, meaning) in meanings.items()
        if is_fall_back and counters[name] > 0
    )
    return TenantStatus(
        name=row["name"],
        pid=row["pid"],
        processes=tuple(row["processes"]),
        quota=str(quota) if quota != Quota() else None,
        units=row["units"],
        held_units=len(row["held"]),
        sms=row["sms"],
        priority=row["priority"],
        memory_bytes=row["memory_bytes"] or None,
        joined_s=row["joined_s"],
        launches=counters["launches"],
        graph_launches=counters["graph_launches"],
        request=row["progress"] if row["progress"][0] else None,
        remaining_us=row["remaining_us"] if row["progress"][0] else None,
        learned=row["learned"],
        crowded=row["crowded"],
        counters=dict(counters),
        fall_backs=fall_backs,
        notes=tuple(row["notes"]),
    )
