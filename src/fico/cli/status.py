"""Show the sessions of this user and their tenants."""

import argparse
from typing import Literal

from fico.cli.tables import print_table
from fico.records.status import SessionStatus, TenantStatus

_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("tenant", "left"),
    ("pid", "right"),
    ("quota", "right"),
    ("units", "left"),
    ("SMs", "right"),
    ("priority", "right"),
    ("memory", "right"),
    ("launches", "right"),
    ("graphs", "right"),
    ("fall-backs", "right"),
)


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print all sessions of this user."""
    from fico.runtime.status import all_statuses

    statuses = all_statuses()
    if arguments.json:
        import json
        from dataclasses import asdict

        print(json.dumps({"sessions": [asdict(status) for status in statuses]}, indent=1))
    elif statuses:
        for status in statuses:
            _show(status)
    else:
        print("there is no session; 'fico run -- CMD' starts one")
    return 0


def _show(status: SessionStatus) -> None:
    print(_headline(status))
    if status.problem is not None:
        print(f"  problem: {status.problem}")
    if not status.tenants:
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in _COLUMNS:
        table.add_column(title, justify=side, no_wrap=True)
    for tenant in status.tenants:
        table.add_row(*_cells(tenant))
    print_table(table)
    for tenant in status.tenants:
        if tenant.request is not None and tenant.remaining_us is not None:
            kind, launch, launches = tenant.request
            counters = tenant.counters
            print(
                f"  {tenant.name}: {counters['requests']} requests of its profile; now launch "
                f"{launch} of {launches} of kind {kind}, {tenant.remaining_us / 1e3:.2f} ms left "
                f"alone; {counters['unprofiled_launches']} launches not in the profile, "
                f"{counters['resyncs']} out of turn"
            )
        for fall_back in tenant.fall_backs:
            print(f"  {tenant.name}: {fall_back.count} {fall_back.meaning}")
        for note in tenant.notes:
            print(f"  {tenant.name}: {note}")


def _headline(status: SessionStatus) -> str:
    from fico.runtime.policies import with_settings

    units = len(status.sms_per_unit)
    parts = [
        status.gpu_name if status.emulated else f"GPU {status.gpu_index}: {status.gpu_name}",
        f"driver {status.driver_version}" if not status.emulated else "emulated: no real GPU",
        f"{units} units, {sum(status.sms_per_unit)} SMs",
        f"policy {with_settings(status.policy or 'unknown', status.policy_settings)}",
        f"{len(status.tenants)} tenants" if len(status.tenants) != 1 else "1 tenant",
    ]
    return ", ".join(parts)


def _cells(tenant: TenantStatus) -> tuple[str, ...]:
    from fico.runtime.quota import format_size

    first, end = tenant.units
    return (
        tenant.name,
        str(tenant.pid),
        tenant.quota or "-",
        f"{first}-{end - 1}" if end > first else "-",
        str(tenant.sms),
        str(tenant.priority),
        format_size(tenant.memory_bytes) if tenant.memory_bytes else "-",
        str(tenant.launches),
        str(tenant.graph_launches),
        str(sum(fall_back.count for fall_back in tenant.fall_backs)),
    )
