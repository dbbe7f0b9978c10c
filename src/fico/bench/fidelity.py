"""How far two results of the same cells are apart, such as simulated and measured ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

ALIKE_PCT = 2.0
"""Policies whose means differ by less in a cell are in no order there."""

Summary = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell under a policy, in two results."""

    first: Row
    second: Row

    @property
    def error_pct(self) -> float:
        """How far the mean latency of the first is off, in percent of the second's."""
        error: float = (self.first["mean_ms"] / self.second["mean_ms"] - 1) * 100
        return error


def differences(first: Summary, second: Summary) -> list[Difference]:
    """Of all cells and policies that are valid in both."""
    known = {(row["cell"], row["policy"]): row for row in first["cells"] if row["valid"]}
    return [
        Difference(known[row["cell"], row["policy"]], row)
        for row in second["cells"]
        if row["valid"] and (row["cell"], row["policy"]) in known
    ]


def pairs_in_order(found: list[Difference]) -> dict[str, list[bool]]:
    """For each cell with several policies, for each pair of them: whether the first result has them
    in the second's order.

    By mean latency; only pairs that are not alike in the second are looked at. A tenant alone is
    left out: there they all are.
    """
    cells: dict[str, list[Difference]] = {}
    for difference in (one for one in found if one.second["n"] > 1):
        cells.setdefault(difference.second["cell"], []).append(difference)
    return {
        cell: [_same_order(one, other) for one, other in _ordered_pairs(same)]
        for cell, same in cells.items()
        if len(same) > 1
    }


def order_agrees(found: list[Difference]) -> dict[str, bool]:
    """For each cell with several policies: whether all pairs are in order (`pairs_in_order`)."""
    return {cell: all(pairs) for cell, pairs in pairs_in_order(found).items()}


def _ordered_pairs(same: list[Difference]) -> Iterator[tuple[Difference, Difference]]:
    """Pairs of a cell, the faster one first."""
    for one, other in combinations(sorted(same, key=lambda d: d.second["mean_ms"]), 2):
        if other.second["mean_ms"] > one.second["mean_ms"] * (1 + ALIKE_PCT / 100):
            yield one, other


def _same_order(faster: Difference, slower: Difference) -> bool:
    in_order: bool = faster.first["mean_ms"] < slower.first["mean_ms"]
    return in_order
