"""Where requests begin: the cut of a sequence of operations that explains it best.

A program comes back to the same places in its code, so a boundary between requests is a pair of
operations, the last of one request and the first of the next, and the same pair is a boundary
wherever it occurs. (Where the gaps of one pair are plainly of two sizes, since the pair occurs
within requests as well, each size counts as a pair of its own.) A cut is a set of such pairs.
Among candidate sets the one with the shortest description wins (minimum description length,
Rissanen 1978): each kind of request is written down once, each request costs a reference to its
kind, and what does not repeat is written down whole, at a higher price. A reference is cheap after
an idle gap and dear in the middle of dense work, so that repeated layers within a request do not
pass for requests, and of all rotations of a closed loop the one that begins after its longest gap
is taken.

Programs that really idle between requests of a fixed cycle (batch 1, batch 8, batch 1, …) would be
described shortest by the whole cycle; boundaries that idle as long as the chosen ones are
therefore cut as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fico.profiling.signatures import Hashes, Indices, Sequence, joined, mixed

LEAST_REPEATS = 3
"""A kind of request that was seen fewer times is none."""

_LONGEST_PIECES = 60_000
"""Enough to choose a cut; more would take seconds."""
_REFERENCE_COST = 4.0
_UNEXPLAINED_COST = 8.0
_CANDIDATES = 48
_ROUNDS = 8
_TWO_SIZES = 4.0
_LAUNCH_US = 20.0
"""A program that launches as fast as it can leaves gaps up to this; longer ones are idle."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A set of boundaries."""

    boundaries: Hashes
    """As `Sizes` names them."""
    sizes: Sizes

    def begins(self, pieces: Pieces) -> Indices:
        """The pieces that begin a segment; the first piece always does."""
        cut = np.isin(self.sizes.boundaries(pieces), self.boundaries)
        return np.concatenate(([0], np.flatnonzero(cut) + 1)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Pairs whose gaps are of two sizes, and the gap that parts them."""

    pairs: Hashes
    """Rising."""
    limit_us: NDArray[np.float64]

    @classmethod
    def of(cls, pieces: Pieces) -> Sizes:
        """Look for them."""
        order = np.lexsort((pieces.gaps_us, pieces.pairs))
        pairs, begins = np.unique(pieces.pairs[order], return_index=True)
        # One more than the gap: below a microsecond gaps say nothing.
        gaps_us = pieces.gaps_us[order] + 1
        found, limits_us = [], []
        for pair, gaps in zip(pairs, np.split(gaps_us, begins[1:]), strict=True):
            least = max(LEAST_REPEATS, len(gaps) // 50)
            if len(gaps) < 2 * least:
                continue
            jumps = gaps[least : len(gaps) - least + 1] / gaps[least - 1 : len(gaps) - least]
            widest = int(np.argmax(jumps))
            if jumps[widest] >= _TWO_SIZES:
                found.append(pair)
                limits_us.append(gaps[least - 1 + widest] * np.sqrt(jumps[widest]) - 1)
        return cls(np.array(found, dtype=np.uint64), np.array(limits_us, dtype=np.float64))

    def boundaries(self, pieces: Pieces) -> Hashes:
        """A name for each boundary: its pair, and the size of its gap if there are two."""
        if not len(self.pairs):
            return pieces.pairs
        at = np.minimum(np.searchsorted(self.pairs, pieces.pairs), len(self.pairs) - 1)
        long = (self.pairs[at] == pieces.pairs) & (pieces.gaps_us > self.limit_us[at])
        return np.where(long, mixed(pieces.pairs), pieces.pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of a sequence: graph launches and single operations."""

    families: Hashes
    """Sum of the families of a piece's operations."""
    sizes: Indices
    """Operations of a piece."""
    busy_ns: Indices
    """Sum of their durations."""
    pairs: Hashes
    """Of each boundary between neighbours: one fewer than pieces."""
    gaps_us: NDArray[np.float64]
    """Idle time at each boundary."""
    typical_gap_us: float
    """Median between operations, those within pieces included; at most _LAUNCH_US."""

    def first(self, count: int) -> Pieces:
        """The first pieces only."""
        if len(self.sizes) <= count:
            return self
        return Pieces(
            self.families[:count],
            self.sizes[:count],
            self.busy_ns[:count],
            self.pairs[: count - 1],
            self.gaps_us[: count - 1],
            self.typical_gap_us,
        )


def pieces_of(sequence: Sequence) -> Pieces:
    """Gather the operations of a sequence, which is not empty, into pieces."""
    begins = sequence.piece_begins
    with np.errstate(over="ignore"):
        families = np.add.reduceat(mixed(sequence.families), begins)
    busy_ns = np.add.reduceat(sequence.end_ns - sequence.start_ns, begins)
    latest_ns = np.maximum.accumulate(sequence.end_ns)
    starts_ns = np.minimum.reduceat(sequence.start_ns, begins)
    inner_ns = np.maximum(sequence.start_ns[1:] - latest_ns[:-1], 0)
    return Pieces(
        families=families,
        sizes=np.diff(begins, append=len(sequence.order)),
        busy_ns=busy_ns,
        pairs=joined(families[:-1], families[1:]),
        gaps_us=np.maximum(starts_ns[1:] - latest_ns[begins[1:] - 1], 0) / 1e3,
        typical_gap_us=min(float(np.median(inner_ns)) / 1e3, _LAUNCH_US) if len(inner_ns) else 0.0,
    )


def best_cut(pieces: Pieces) -> Cut:
    """The cut that explains the pieces best; a cut without pairs if none explains anything."""
    return _Search(pieces.first(_LONGEST_PIECES)).run()


class _Search:
    """Kinds of boundaries are numbered; a candidate is a set of kinds."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.sizes = Sizes.of(pieces)
        self.names, self.kind, self.count = np.unique(
            self.sizes.boundaries(pieces), return_inverse=True, return_counts=True
        )
        self.gap_us = _grouped_medians(pieces.gaps_us, self.kind, len(self.names))
        ratio = np.clip((pieces.typical_gap_us + 1) / (self.gap_us + 1), 0.25, 4)
        self.reference_cost = _REFERENCE_COST * ratio

    def run(self) -> Cut:
        candidates = list(self._candidates())
        if not candidates:
            return Cut(np.zeros(0, dtype=np.uint64), self.sizes)
        costs = [self._cost(chosen) for chosen in candidates]
        best = int(np.argmin(costs))
        chosen, cost = candidates[best], costs[best]
        for _ in range(_ROUNDS):
            wider = [chosen ^ other for other in candidates[:_CANDIDATES]]
            wider += [chosen | other for other in candidates]
            costs = [self._cost(other) for other in wider]
            best = int(np.argmin(costs))
            if costs[best] >= cost:
                break
            chosen, cost = wider[best], costs[best]
        if not chosen.any() or cost >= self._cost(np.zeros_like(chosen)):
            return Cut(np.zeros(0, dtype=np.uint64), self.sizes)
        return Cut(self.names[self._with_idle_points(chosen)], self.sizes)

    def _candidates(self) -> Iterable[Flags]:
        repeated = np.flatnonzero(self.count >= LEAST_REPEATS)
        by_gap = repeated[np.argsort(-self.gap_us[repeated], kind="stable")]
        rarest = repeated[np.lexsort((-self.gap_us[repeated], self.count[repeated]))]
        singles = list(dict.fromkeys([*by_gap[: _CANDIDATES // 2], *rarest[: _CANDIDATES // 2]]))
        for single in singles:
            yield self._flags([single])
        for count in range(2, min(len(by_gap), 32) + 1):
            yield self._flags(by_gap[:count])
        # Everything that comes before, or after, one and the same piece.
        for sides in (self.pieces.families[:-1], self.pieces.families[1:]):
            for single in singles:
                side = sides[np.argmax(self.kind == single)]
                yield self._flags(np.unique(self.kind[sides == side]))

    def _flags(self, kinds: Iterable[int]) -> Flags:
        flags = np.zeros(len(self.names), dtype=np.bool_)
        flags[list(kinds)] = True
        return flags

    def _segments(self, chosen: Flags) -> tuple[Indices, Hashes]:
        begins = np.concatenate(([0], np.flatnonzero(chosen[self.kind]) + 1)).astype(np.int64)
        with np.errstate(over="ignore"):
            return begins, np.add.reduceat(self.pieces.families, begins)

    def _cost(self, chosen: Flags) -> float:
        begins, identities = self._segments(chosen)
        sizes = np.add.reduceat(self.pieces.sizes, begins)
        _, first, kind, count = np.unique(
            identities, return_index=True, return_inverse=True, return_counts=True
        )
        repeats = count >= LEAST_REPEATS
        written = float(sizes[first][repeats].sum())
        longest = int(sizes[first][repeats].max(initial=0))
        unexplained = float(sizes[~repeats[kind] & ~_at_edge(sizes, longest)].sum())
        references = float((self.reference_cost * self.count)[chosen].sum())
        return written + _UNEXPLAINED_COST * unexplained + references

    def _explained(self, chosen: Flags) -> float:
        """Share of the busy time in segments that repeat."""
        begins, identities = self._segments(chosen)
        sizes = np.add.reduceat(self.pieces.sizes, begins)
        busy_ns = np.add.reduceat(self.pieces.busy_ns, begins)
        _, kind, count = np.unique(identities, return_inverse=True, return_counts=True)
        known = count[kind] >= LEAST_REPEATS
        counts = known | ~_at_edge(sizes, int(sizes[known].max(initial=0)))
        return float(busy_ns[known].sum() / max(busy_ns[counts].sum(), 1))

    def _with_idle_points(self, chosen: Flags) -> Flags:
        inner_us = self.gap_us[self.kind[~chosen[self.kind]]]
        if not len(inner_us):
            return chosen
        dense_us = min(float(np.quantile(inner_us, 0.9)), _LAUNCH_US)
        clear_us = max(0.7 * float(self.gap_us[chosen].min()), 3 * dense_us, 5.0)
        wider = chosen | (self.gap_us >= clear_us)
        return wider if self._explained(wider) >= self._explained(chosen) - 0.01 else chosen


def _at_edge(sizes: Indices, longest: int) -> Flags:
    """Segments that may be a part of a request only, since the window begins or ends in them."""
    flags = np.zeros(len(sizes), dtype=np.bool_)
    flags[[0, -1]] = sizes[[0, -1]] <= longest
    return flags


def _grouped_medians(
    values: NDArray[np.float64], group: Indices, groups: int
) -> NDArray[np.float64]:
    """Median of the values of each group; every group has at least one."""
    order = np.lexsort((values, group))
    begins = np.searchsorted(group[order], np.arange(groups))
    ends = np.append(begins[1:], len(values))
    middle = (begins + ends - 1) // 2
    medians: NDArray[np.float64] = values[order][middle]
    return medians
