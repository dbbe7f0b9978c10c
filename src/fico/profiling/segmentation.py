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

What gaps are like is taken from all windows: in a single one, a busy machine's stalls may fall on
some boundaries and spare others.

Idle points go first: where gaps are plainly of two sizes and what lies between the long ones
repeats, only cuts at long gaps are compared. And programs that idle between requests of a fixed
cycle (batch 1, batch 8, batch 1, …) would be described shortest by the whole cycle: boundaries
that do not idle plainly less than the chosen ones are cut as well.

A long gap now and then in what is otherwise the same is a stall, and no boundary.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items
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
_JUMP, _CLEAR_JUMP = 1.5, 2.5
"""Ratio of two gaps, one of which may be an idle point, or plainly is."""
_MOSTLY = 0.9
_IDLE_US = 5.0
_LAUNCH_US = 20.0
"""A program that launches as fast as it can leaves gaps up to this; longer ones are idle."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A set of boundaries."""

    names: Hashes
    """Of its kinds of boundaries, as `Sizes` gives them."""
    sizes: Sizes

    def begins(self, pieces: Pieces) -> Indices:
        """The pieces that begin a segment; the first piece always does."""
        cut = np.isin(self.sizes.names(pieces.boundaries), self.names)
        return np.concatenate(([0], np.flatnonzero(cut) + 1)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Pairs whose gaps are of two sizes, and the gap that parts them."""

    pairs: Hashes
    """Rising."""
    limit_us: NDArray[np.float64]

    @classmethod
    def of(cls, boundaries: Boundaries) -> Sizes:
        """Look for them."""
        order = np.lexsort((boundaries.gaps_us, boundaries.pairs))
        pairs, begins = np.unique(boundaries.pairs[order], return_index=True)
        # One more than the gap: below a microsecond gaps say nothing.
        gaps_us = boundaries.gaps_us[order] + 1
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

    def names(self, boundaries: Boundaries) -> Hashes:
        """A name for each boundary: its pair, and the size of its gap if there are two."""
        pairs, gaps_us = boundaries.pairs, boundaries.gaps_us
        if not len(self.pairs):
            return pairs
        at = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        long = (self.pairs[at] == pairs) & (gaps_us > self.limit_us[at])
        return np.where(long, mixed(pairs), pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """The boundaries between neighbouring pieces."""

    pairs: Hashes
    """The families of the pieces before and after."""
    gaps_us: NDArray[np.float64]
    """Idle time at each boundary."""

    def first(self, count: int) -> Boundaries:
        """The first ones only."""
        return Boundaries(self.pairs[:count], self.gaps_us[:count])

    @classmethod
    def of_all(cls, windows: Items[Pieces]) -> Boundaries:
        """Those of all windows, as many of each as are looked at."""
        some = [pieces.boundaries.first(_LONGEST_PIECES) for pieces in windows]
        return cls(
            np.concatenate([boundaries.pairs for boundaries in some]),
            np.concatenate([boundaries.gaps_us for boundaries in some]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of a sequence: graph launches and single operations."""

    families: Hashes
    """Sum of the families of a piece's operations."""
    sizes: Indices
    """Operations of a piece."""
    busy_ns: Indices
    """Sum of their durations."""
    boundaries: Boundaries
    """One fewer than pieces."""
    inner_gaps_us: NDArray[np.float64]
    """Idle time before each operation that begins no piece: within graph launches."""
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
            self.boundaries.first(count - 1),
            self.inner_gaps_us[: int(self.sizes[:count].sum()) - count],
            self.typical_gap_us,
        )


def pieces_of(sequence: Sequence) -> Pieces:
    """Gather the operations of a sequence into pieces."""
    begins = sequence.piece_begins
    with np.errstate(over="ignore"):
        families = np.add.reduceat(mixed(sequence.families), begins)
    busy_ns = np.add.reduceat(sequence.end_ns - sequence.start_ns, begins)
    latest_ns = np.maximum.accumulate(sequence.end_ns)
    starts_ns = np.minimum.reduceat(sequence.start_ns, begins)
    gaps_ns = np.maximum(sequence.start_ns[1:] - latest_ns[:-1], 0)
    return Pieces(
        families=families,
        sizes=np.diff(begins, append=len(sequence.order)),
        busy_ns=busy_ns,
        boundaries=Boundaries(
            joined(families[:-1], families[1:]),
            np.maximum(starts_ns[1:] - latest_ns[begins[1:] - 1], 0) / 1e3,
        ),
        inner_gaps_us=np.delete(gaps_ns, begins[1:] - 1) / 1e3,
        typical_gap_us=min(float(np.median(gaps_ns)) / 1e3, _LAUNCH_US) if len(gaps_ns) else 0.0,
    )


def best_cut(windows: Items[Pieces], reference: int = 0) -> Cut:
    """The cut that explains the reference best; a cut without pairs if none explains anything."""
    boundaries = Boundaries.of_all(windows)
    return _Search(windows[reference].first(_LONGEST_PIECES), boundaries).run()


class _Search:
    """Kinds of boundaries are numbered; a candidate is a set of kinds."""

    def __init__(self, pieces: Pieces, everywhere: Boundaries) -> None:
        self.pieces = pieces
        self.sizes = Sizes.of(everywhere)
        self.names, self.kind, self.count = np.unique(
            self.sizes.names(pieces.boundaries), return_inverse=True, return_counts=True
        )
        all_names, all_kinds = np.unique(self.sizes.names(everywhere), return_inverse=True)
        medians_us = _grouped_medians(everywhere.gaps_us, all_kinds, len(all_names))
        self.gap_us = medians_us[np.searchsorted(all_names, self.names)]
        ratio = np.clip((pieces.typical_gap_us + 1) / (self.gap_us + 1), 0.25, 4)
        self.reference_cost = _REFERENCE_COST * ratio

    def run(self) -> Cut:
        chosen = self._idle_points()
        if chosen is None:
            chosen = self._shortest()
        chosen = self._without_stalls(self._with_idle_points(chosen))
        return Cut(self.names[chosen], self.sizes)

    def _idle_points(self) -> Flags | None:
        """All boundaries with gaps from some size on, where gaps are plainly of several sizes.

        None if they are not, or if what lies between does not repeat.
        """
        by_gap = np.argsort(-self.gap_us, kind="stable")
        # Within graph launches there are gaps as well, that are nobody's boundary.
        gaps_us = np.append(self.gap_us[by_gap], self.pieces.typical_gap_us)
        jumps = (gaps_us[:-1] + 1) / (gaps_us[1:] + 1)
        idle = gaps_us[:-1] >= _IDLE_US
        clear = np.flatnonzero(idle & (jumps >= _CLEAR_JUMP))
        if not len(clear):
            return None
        jumps[clear[-1] + 1 :] = 0
        cuts = [
            self._flags(by_gap[: at + 1]) for at in np.flatnonzero(jumps >= _JUMP)[-_CANDIDATES:]
        ]
        cuts = [cut for cut in cuts if self._explained(cut) >= _MOSTLY]
        return min(cuts, key=self._cost, default=None)

    def _shortest(self) -> Flags:
        """The boundaries with the shortest description; none if that is no shorter."""
        candidates = list(self._candidates())
        nothing = np.zeros(len(self.names), dtype=np.bool_)
        if not candidates:
            return nothing
        costs = [self._cost(chosen) for chosen in candidates]
        best = int(np.argmin(costs))
        chosen, cost = candidates[best], costs[best]
        for _ in range(_ROUNDS):
            near = [chosen ^ other for other in candidates[:_CANDIDATES]]
            near += [chosen | other for other in candidates]
            near += [chosen ^ self._flags([one]) for one in np.flatnonzero(chosen)[:_CANDIDATES]]
            costs = [self._cost(other) for other in near]
            best = int(np.argmin(costs))
            if costs[best] >= cost:
                break
            chosen, cost = near[best], costs[best]
        return chosen if cost < self._cost(nothing) else nothing

    def _candidates(self) -> Iterable[Flags]:
        repeated = np.flatnonzero(self.count >= LEAST_REPEATS)
        by_gap = repeated[np.argsort(-self.gap_us[repeated], kind="stable")]
        rarest = repeated[np.lexsort((-self.gap_us[repeated], self.count[repeated]))]
        singles = list(dict.fromkeys([*by_gap[: _CANDIDATES // 2], *rarest[: _CANDIDATES // 2]]))
        for single in singles:
            yield self._flags([single])
        for count in range(2, min(len(by_gap), 32) + 1):
            yield self._flags(by_gap[:count])
        # Between graph launches, of which each may be a request.
        large = self.pieces.sizes > 1
        yield self._flags(np.unique(self.kind[large[1:] & large[:-1]]))
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
        not_cut = ~chosen[self.kind]
        if not not_cut.any() or not chosen.any():
            return chosen
        # Without the gaps within graphs, what was wrongly left out would be all there is to see.
        inner_us = np.append(self.gap_us[self.kind[not_cut]], self.pieces.inner_gaps_us)
        dense_us = min(float(np.quantile(inner_us, 0.9)), _LAUNCH_US)
        clear_us = max(float(self.gap_us[chosen].min()) / _CLEAR_JUMP, 3 * dense_us, _IDLE_US)
        wider = chosen | (self.gap_us >= clear_us)
        return wider if self._explained(wider) >= self._explained(chosen) - 0.01 else chosen

    def _without_stalls(self, chosen: Flags) -> Flags:
        """Leave out long gaps of a pair that come now and then in what is otherwise the same."""
        long = chosen & np.isin(self.names, mixed(self.sizes.pairs))
        for kind in np.flatnonzero(long).tolist():
            without = chosen & ~self._flags([kind])
            if not self._regular(kind, without):
                chosen = without
        return chosen

    def _regular(self, kind: int, chosen: Flags) -> bool:
        """Whether of segments that are the same all have such a boundary, or none has."""
        begins, identities = self._segments(chosen)
        within = np.searchsorted(begins, np.flatnonzero(self.kind == kind), side="right") - 1
        has = np.zeros(len(begins), dtype=np.bool_)
        has[within] = True
        return float(has[np.isin(identities, identities[has])].mean()) >= _MOSTLY


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
