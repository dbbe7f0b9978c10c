"""Policies as a user writes them: a name, and settings where they are not the best known."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fico.runtime.errors import UsageError
from fico.runtime.policies import parse_settings, with_settings

POLICIES = {
    "fico": "dominant kernels first, insensitive ones right-sized, units lent",
    "mps": "everything shared freely",
    "mps-quota": "active thread percentage of MPS = quota",
    "static": "each tenant on its own units",
    "timeslice": "one tenant at a time, in turn",
    "reef": "real-time kernels first, best-effort ones in the SMs they leave",
    "krisp": "each kernel right-sized, on the least loaded units",
    "orion": "best-effort kernels beside those of the opposite profile",
    "lithos": "own units, stealing of idle ones, right-sizing",
}
OURS = "fico"
YARDSTICK = "static"
"""What the promise is measured against."""
CAPACITY = "mps"
"""What the capacity of a cell is found under, and the rival that each cell is compared with."""
RIVALS = tuple(name for name in POLICIES if name != OURS)
AVERAGED = ("mps", "reef", "krisp", "orion")
"""The rivals whose average the poster compares with."""

_SPEC = re.compile(r"(?P<name>[\w-]+)(\[(?P<settings>[^\[\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy and the settings that differ from its own."""

    name: str
    settings: tuple[tuple[str, float], ...] = ()
    """Sorted by name."""

    def __str__(self) -> str:
        return with_settings(self.name, dict(self.settings))


def parse_policy(text: str) -> Policy:
    """Read `fico` or `orion[small_percent=25,…]`. UsageError."""
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"policy {text!r} is not understood", "write NAME or NAME[SETTING=NUMBER,...]"
        )
    if match["name"] not in POLICIES:
        raise UsageError(
            f"there is no policy {match['name']!r}", f"choose from {', '.join(POLICIES)}"
        )
    parts = match["settings"].split(",") if match["settings"] else []
    settings = parse_settings(parts, match["name"])
    return Policy(match["name"], tuple(sorted(settings.items())))


def parse_policies(text: str) -> list[Policy]:
    """Read several, separated by commas outside of brackets; `all` is every one. UsageError."""
    if text.strip() == "all":
        return [Policy(name) for name in POLICIES]
    policies = [parse_policy(part) for part in re.split(r",(?![^\[]*\])", text)]
    for policy in policies:
        if policies.count(policy) > 1:
            raise UsageError(f"policy {policy} is given twice", "give each once")
    return policies
