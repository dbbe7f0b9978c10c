"""Changing what runs."""

import os
from collections.abc import Mapping

from fico.runtime.errors import FicoError
from fico.runtime.gpus import selected_gpu
from fico.runtime.policies import check_policy
from fico.runtime.quota import Quota
from fico.runtime.session import Session, arena_errors, known_session, known_sessions


def chosen_session(gpu: str | None, remnants: bool = False) -> Session:
    """The session of a GPU; where none is given, the only one there is. FicoError if unclear."""
    if gpu is not None or os.environ.get("FICO_GPU"):
        selector = selected_gpu(gpu)
        session = known_session(selector, remnants)
        if session is None:
            raise FicoError(f"there is no session on GPU {selector}", "see 'fico status'")
        return session
    sessions = known_sessions(remnants)
    if not sessions:
        raise FicoError("there is no session", "'fico run' starts one")
    if len(sessions) > 1:
        keys = ", ".join(session.key for session in sessions)
        raise FicoError(f"there are several sessions: {keys}", "choose one with --gpu")
    return sessions[0]


def change_policy(gpu: str | None, policy: str, settings: Mapping[str, float]) -> None:
    """Give a session another policy, at once and for all its tenants.

    UsageError for one that no session can have.
    """
    check_policy(policy, settings)
    with arena_errors():
        chosen_session(gpu).arena().set_policy(policy, dict(settings))


def change_tenant(
    gpu: str | None,
    tenant: str,
    quota: Quota | None,
    priority: int | None,
    name: str | None,
) -> None:
    """Change what is not None. FicoError if there is no such tenant or the quotas don't fit."""
    arena = _session_of(tenant, gpu).arena()
    with arena_errors():
        arena.update(
            tenant,
            quota_ppm=quota.ppm if quota is not None else None,
            quota_units=quota.units if quota is not None else None,
            priority=priority,
            new_name=name,
        )


def _session_of(tenant: str, gpu: str | None) -> Session:
    """Where a tenant of this name is; names are unique on a GPU only."""
    if gpu is not None:
        return chosen_session(gpu)
    sessions = known_sessions()
    having = [s for s in sessions if tenant in {row["name"] for row in s.tenants()}]
    if len(having) > 1:
        keys = ", ".join(session.key for session in having)
        raise FicoError(f"several sessions have a tenant {tenant!r}: {keys}", "choose with --gpu")
    # Without any, the one session's own error names the tenants that it has.
    return having[0] if having else chosen_session(None)
