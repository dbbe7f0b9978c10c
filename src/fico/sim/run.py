"""Tenants under quotas on one simulated GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fico import _native

H200_SMS_PER_UNIT = (8,) * 15 + (12,)
"""Units of an H200 as its driver splits it."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A program that serves its requests one after another."""

    traces: Sequence[_native.SimTrace]
    quota: float
    """Share of the GPU, 0 to 1."""
    arrivals_us: Sequence[float] | None = None
    """None is closed loop."""
    requests: int = 0
    """How many every tenant in closed loop ends at least."""
    trace_of_request: Sequence[int] = field(default=())
    """Index of the trace for each request, repeated; empty is always the first."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class TenantResult:
    """Arrays have an entry for each request that ended; times in µs from the begin of the run."""

    arrival_us: _native.Array
    start_us: _native.Array
    end_us: _native.Array
    sm_time_us: float
    held_us: float
    holds: int
    decisions: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    tenants: tuple[TenantResult, ...]
    timeline: tuple[_native.SimPiece, ...]
    end_us: float


def slices(quotas: Sequence[float], unit_count: int) -> list[tuple[int, int]]:
    """The units that tenants with these quotas own, side by side. ValueError if they do not fit."""
    counts = _native.share_units([(round(quota * 1_000_000), 0) for quota in quotas], unit_count)
    if not counts:
        raise ValueError(
            f"quotas of {sum(quotas):.0%} in all do not fit on {unit_count} units: lower them"
        )
    ends = [sum(counts[: index + 1]) for index in range(len(counts))]
    return [(end - count, end) for end, count in zip(ends, counts, strict=True)]


def simulate(
    tenants: Sequence[Tenant],
    policy: str | _native.Decides,
    settings: Mapping[str, float] | None = None,
    *,
    sms_per_unit: Sequence[int] = H200_SMS_PER_UNIT,
    seed: int = 0,
    until_us: float = 1e300,
    costs: _native.SimCosts | None = None,
    device: _native.DeviceSettings | None = None,
    segment_us: tuple[float, float] = (50.0, 150.0),
    timeline: bool = False,
) -> Result:
    """Run the tenants under a policy. ValueError names what makes no sense.

    The same arguments give the same result, bit for bit. Threads run side by side.
    """
    units = slices([tenant.quota for tenant in tenants], len(sms_per_unit))
    result = _native.simulate(
        list(sms_per_unit),
        [
            _native.SimTenant(
                list(tenant.traces),
                own,
                None if tenant.arrivals_us is None else list(tenant.arrivals_us),
                tenant.requests,
                list(tenant.trace_of_request),
                tenant.priority,
            )
            for tenant, own in zip(tenants, units, strict=True)
        ],
        policy,
        dict(settings or {}),
        seed=seed,
        until_us=until_us,
        costs=costs or _native.SimCosts(),
        device=device or _native.DeviceSettings(),
        segment_us=segment_us,
        timeline=timeline,
    )
    return Result(
        tuple(
            TenantResult(
                row["arrival_us"],
                row["start_us"],
                row["end_us"],
                row["sm_time_us"],
                row["held_us"],
                row["holds"],
                row["decisions"],
            )
            for row in result["tenants"]
        ),
        tuple(result["timeline"]),
        result["end_us"],
    )
