"""The policies that a session can have, and their settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fico import _native
from fico.runtime.errors import UsageError

_SETTING = re.compile(r"\s*(?P<name>\w+)\s*=\s*(?P<value>[-+.\w]+)\s*")


def live_policies() -> tuple[str, ...]:
    """Names of the policies that a session can have."""
    return tuple(_native.live_policies())


def policy_settings() -> dict[str, list[_native.SettingRow]]:
    """Which settings each policy has, with their values and limits."""
    return {row["name"]: row["settings"] for row in _native.policies()}


def live_settings(policy: str) -> list[_native.SettingRow]:
    """The settings of a policy in a session: its own, and the pace at which pieces go out."""
    own = policy_settings().get(policy, [])
    decides = policy in live_policies() and policy not in ("mps", "static", "shuffle")
    return [*own, *_native.pace_settings()] if decides else own


def check_policy(policy: str, settings: Mapping[str, float] | None = None) -> None:
    """UsageError for a policy that no session can have, or for a setting that it does not have."""
    known = live_policies()
    if policy not in known:
        what = "runs in 'fico bench' only" if policy in policy_settings() else "is not known"
        raise UsageError(f"policy {policy!r} {what}", f"choose from {', '.join(known)}")
    check_settings(policy, settings or {}, live_settings(policy))


def check_settings(
    policy: str, settings: Mapping[str, float], known: Iterable[_native.SettingRow]
) -> None:
    """UsageError for a setting that is not one of these, or out of its range."""
    rows = {row["name"]: row for row in known}
    for name, value in settings.items():
        if name not in rows:
            there = f"choose from {', '.join(rows)}" if rows else "it has none"
            raise UsageError(f"policy {policy} has no setting {name!r}", there)
        lowest, highest = rows[name]["lowest"], rows[name]["highest"]
        if not lowest <= value <= highest:
            raise UsageError(
                f"setting {name}={value:g} of policy {policy} is out of range",
                f"give {lowest:g} to {highest:g}",
            )


def parse_setting(text: str, policy: str) -> tuple[str, float]:
    """Read SETTING=NUMBER. UsageError."""
    setting = _SETTING.fullmatch(text)
    try:
        if setting is not None:
            return setting["name"], float(setting["value"])
    except ValueError:
        pass
    raise UsageError(
        f"setting {text.strip()!r} of policy {policy} is not understood", "write SETTING=NUMBER"
    )


def parse_settings(texts: Sequence[str], policy: str) -> dict[str, float]:
    """Read several. UsageError, also for one that is given twice."""
    settings: dict[str, float] = {}
    for text in texts:
        name, value = parse_setting(text, policy)
        if name in settings:
            raise UsageError(f"setting {name} is given twice", "give each once")
        settings[name] = value
    return settings


def with_settings(policy: str, settings: Mapping[str, float]) -> str:
    """A policy as people write it: NAME, or NAME[SETTING=NUMBER,...]."""
    if not settings:
        return policy
    return f"{policy}[{','.join(f'{name}={value:g}' for name, value in settings.items())}]"
