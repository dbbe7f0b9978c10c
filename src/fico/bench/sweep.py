"""All combinations of a policy's settings, to find the best."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from fico.bench.policy import CAPACITY, Policy, parse_policy
from fico.runtime.errors import UsageError

_MOST = 200


def combinations(policy: str, settings: Sequence[str]) -> list[Policy]:
    """Policies to run: the one of the name with each combination of `SETTING=A,B,...`.

    Besides, as it is and `mps`, to compare with. UsageError.
    """
    grid = []
    for setting in settings:
        name, equals, values = setting.partition("=")
        if not equals or not values:
            raise UsageError(f"setting {setting!r} is not understood", "write SETTING=A,B,C")
        grid.append([f"{name}={value}" for value in values.split(",")])
    count = 1
    for choices in grid:
        count *= len(choices)
    if count > _MOST:
        raise UsageError(f"{count} combinations are too many", f"give at most {_MOST}")
    tried = [parse_policy(f"{policy}[{','.join(choice)}]") for choice in product(*grid)]
    plain = [parse_policy(policy), Policy(CAPACITY)]
    return list(dict.fromkeys([*plain, *tried]))
