"""The requests of a program: which kinds there are, and where each operation of each of them is.

Boundaries come from `segmentation`. What lies between two of them is a request of a kind if it
consists of the same operations, in whatever order they ran. Sequences that are nearly the same
(most operations have the same signature: a decoder's steps, whose attention grows with the
context) are one kind; the commonest sequence stands for it and the others are aligned with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import numpy as np

from fico.profiling.records import Window
from fico.profiling.segmentation import LEAST_REPEATS, Cut, Pieces, best_cut, pieces_of
from fico.profiling.signatures import Hashes, Indices, Sequence, mixed, sequence_of
from fico.runtime.errors import FicoError

LEAST_COVERAGE = 0.8
"""Share of the GPU's busy time that the requests must account for."""
_SAME_SHAPES = 0.6
"""Two sequences are one kind if this share of their operations has equal signatures …"""
_SAME_CODE = 0.85
"""… and this share equal families …"""
_AS_LONG = 1.5
"""… and the ratio of their times on the GPU, in one window, is up to this."""
_LONGEST_COMPARED = 500
_MOST_KINDS = 50
_LEAST_SHARE = 0.01
"""Kinds with less of the busy time than this are left out."""


class NoRequestsError(FicoError):
    """The program does not repeat itself, or too little of it does."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestKind:
    """One kind of request."""

    example: Indices
    """Rows of an example in the reference window, by position: in the order of starting."""
    signatures: Hashes
    """By position; operations that are the same code on the same shapes have the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The requests of one kind in one window."""

    rows: Indices
    """(requests, positions): rows of the window's operations, -1 where a request lacks one."""
    start_ns: Indices
    """First start of each request."""
    end_ns: Indices
    """Last end of each request."""


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """All requests of all windows."""

    kinds: tuple[RequestKind, ...]
    """From the one with the most GPU time to the one with the least."""
    coverage: float
    """Share of the reference window's busy time that belongs to these kinds, edges left out."""
    found: tuple[tuple[Found, ...], ...]
    """By window and kind."""


def find_requests(windows: Items[Window], reference: int = 0) -> Requests:
    """Find the kinds of requests in the reference window and the requests of all windows.

    NoRequestsError if what repeats is less than LEAST_COVERAGE of the reference.
    """
    sequences = [sequence_of(window) for window in windows]
    main = sequences[reference]
    if not len(main.order):
        raise NoRequestsError(
            "the program ran nothing on the GPU while it was measured",
            "let it serve requests all the time, and measure for longer",
        )
    all_pieces = [pieces_of(sequence) for sequence in sequences]
    cut = best_cut(all_pieces, reference)
    all_segments = [
        _segments(sequence, pieces, cut)
        for sequence, pieces in zip(sequences, all_pieces, strict=True)
    ]
    segments = all_segments[reference]
    kinds = _cluster(main, segments, _seen_whole(sequences, all_segments))
    busy_ns = np.add.reduceat(main.end_ns - main.start_ns, segments[:-1])
    # The first and the last are cut off by the window itself.
    inner = np.ones(len(busy_ns), dtype=bool)
    inner[[0, -1]] = len(busy_ns) <= 2
    whole_ns = max(int(busy_ns[inner].sum()), 1)
    share = {id(kind): _time_of(kind, busy_ns * inner) / whole_ns for kind in kinds}
    kinds = [kind for kind in kinds if share[id(kind)] >= _LEAST_SHARE]
    kinds.sort(key=lambda kind: -share[id(kind)])
    coverage = sum(share[id(kind)] for kind in kinds)
    if coverage < LEAST_COVERAGE:
        raise NoRequestsError(_what_was_seen(main, kinds, coverage), _REMEDY)
    for kind in kinds:
        kind.order_by_start(main, segments)
    found = [
        _match(sequence, its_segments, kinds)
        for sequence, its_segments in zip(sequences, all_segments, strict=True)
    ]
    return Requests(
        kinds=tuple(
            RequestKind(main.order[kind.example], main.signatures[kind.example]) for kind in kinds
        ),
        coverage=min(coverage, 1.0),
        found=tuple(found),
    )


_REMEDY = (
    "profile a program that serves the same few kinds of requests again and again, one after "
    "another, and let it warm up first"
)


def _what_was_seen(sequence: Sequence, kinds: list[_Kind], coverage: float) -> str:
    operations, distinct = len(sequence.order), len(np.unique(sequence.signatures))
    seen = f"{operations} operations, {distinct} of them different"
    if not kinds:
        return f"the program does not repeat itself: {seen}, and no sequence of note came back"
    return (
        f"the program does not repeat itself enough: {seen}; sequences that came back at least "
        f"{LEAST_REPEATS} times take {coverage:.0%} of the GPU's time, and {LEAST_COVERAGE:.0%} "
        "are needed"
    )


def _segments(sequence: Sequence, pieces: Pieces, cut: Cut) -> Indices:
    """Where segments begin, and the end of the last."""
    if not len(sequence.order):
        return np.zeros(1, dtype=np.int64)
    begins = sequence.piece_begins[cut.begins(pieces)]
    return np.append(begins, len(sequence.order))


def _identities(sequence: Sequence, segments: Indices) -> Hashes:
    """What each segment consists of, in whatever order."""
    with np.errstate(over="ignore"):
        return np.add.reduceat(mixed(sequence.signatures), segments[:-1])


def _seen_whole(sequences: Items[Sequence], segments: Items[Indices]) -> Counter[int]:
    """How often each sequence of operations was seen in all windows, their edges left out."""
    seen: Counter[int] = Counter()
    for sequence, its_segments in zip(sequences, segments, strict=True):
        if len(its_segments) > 3:
            seen.update(_identities(sequence, its_segments)[1:-1].tolist())
    return seen


@dataclass(slots=True, eq=False)
class _Kind:
    """Sequences that are one kind of request."""

    identity: int
    """Of the sequence that stands for it."""
    signatures: Hashes
    """Of that sequence, in the program's order, then by position."""
    families: Hashes
    example: Indices
    """Its places in the reference."""
    busy_ns: float
    """Its time on the GPU."""
    members: list[Indices] = field(default_factory=list)
    """Segments of the reference, by sequence."""

    def likeness(self, signatures: Hashes, families: Hashes) -> float:
        """Share of operations with equal signatures; 0 if the code is another."""
        if _common(self.families, families) < _SAME_CODE:
            return 0.0
        return _common(self.signatures, signatures)

    def order_by_start(self, sequence: Sequence, segments: Indices) -> None:
        """Number positions by the median time at which they start within a request."""
        offsets = []
        by_signature = np.argsort(self.signatures, kind="stable")
        for segment in self.members[0]:
            places = np.arange(segments[segment], segments[segment + 1])
            aligned = np.empty_like(places)
            aligned[by_signature] = places[np.argsort(sequence.signatures[places], kind="stable")]
            starts_ns = sequence.start_ns[aligned]
            offsets.append(starts_ns - starts_ns.min())
        order = np.argsort(np.median(np.array(offsets), axis=0), kind="stable")
        self.signatures, self.families = self.signatures[order], self.families[order]
        self.example = self.example[order]


def _common(one: Hashes, other: Hashes) -> float:
    """How much two collections have in common, 0 to 1, in parts of the larger one."""
    mine, my_count = np.unique(one, return_counts=True)
    theirs, their_count = np.unique(other, return_counts=True)
    _, at, their_at = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    equal = int(np.minimum(my_count[at], their_count[their_at]).sum())
    return equal / max(len(one), len(other))


def _time_of(kind: _Kind, busy_ns: Indices) -> int:
    return int(sum(busy_ns[members].sum() for members in kind.members))


def _cluster(sequence: Sequence, segments: Indices, seen: Counter[int]) -> list[_Kind]:
    """Group the segments by what they consist of; kinds seen often enough only, in this window or
    in all of them (a decoder fills a window with steps between two prefills)."""
    identities = _identities(sequence, segments)
    different, kind_of, count = np.unique(identities, return_inverse=True, return_counts=True)
    order = np.argsort(kind_of, kind="stable")
    members = np.split(order, np.cumsum(count)[:-1])
    lengths_ns = np.add.reduceat(sequence.end_ns - sequence.start_ns, segments[:-1])
    busy_ns = np.array([np.median(lengths_ns[variant]) for variant in members])
    # Of equally common ones those of middling length first.
    commonest_first = np.lexsort((np.abs(busy_ns - np.median(busy_ns)), -count))
    kinds: list[_Kind] = []
    for variant in commonest_first:
        first = members[variant][0]
        places = np.arange(segments[first], segments[first + 1])
        signatures, families = sequence.signatures[places], sequence.families[places]
        like = [
            (kind.likeness(signatures, families), -at)
            for at, kind in enumerate(kinds[:_MOST_KINDS])
            if 1 / _AS_LONG <= busy_ns[variant] / kind.busy_ns <= _AS_LONG
        ]
        best = max(like, default=(0.0, 0))
        if best[0] >= _SAME_SHAPES:
            kinds[-best[1]].members.append(members[variant])
        elif len(kinds) < _MOST_KINDS or len(members[variant]) >= LEAST_REPEATS:
            kinds.append(
                _Kind(
                    int(different[variant]),
                    signatures,
                    families,
                    places,
                    max(float(busy_ns[variant]), 1.0),
                    [members[variant]],
                )
            )
    return [
        kind
        for kind in kinds
        if max(sum(map(len, kind.members)), seen[kind.identity]) >= LEAST_REPEATS
    ]


def _match(sequence: Sequence, segments: Indices, kinds: list[_Kind]) -> tuple[Found, ...]:
    rows: list[list[Indices]] = [[] for _ in kinds]
    spans: list[list[tuple[int, int]]] = [[] for _ in kinds]
    if len(segments) > 1:
        identities = _identities(sequence, segments)
        known: dict[int, tuple[int, Indices | None] | None] = {
            kind.identity: (at, None) for at, kind in enumerate(kinds)
        }
        # Equal operations are told apart by the order of their calls.
        sorted_by_signature = [np.lexsort((kind.example, kind.signatures)) for kind in kinds]
        # What the window cuts off at its edges is no request, only whole ones are.
        edges = (0, len(identities) - 1)
        for at in (*range(1, len(identities) - 1), *dict.fromkeys(edges)):
            identity = int(identities[at])
            if at in edges and identity not in known:
                continue
            places = np.arange(segments[at], segments[at + 1])
            if identity not in known:
                known[identity] = _nearest(sequence, places, kinds)
            match = known[identity]
            if match is None:
                continue
            index, alignment = match
            aligned = np.full(len(kinds[index].signatures), -1, dtype=np.int64)
            if alignment is None:
                places = places[np.argsort(sequence.signatures[places], kind="stable")]
                aligned[sorted_by_signature[index]] = sequence.order[places]
            else:
                has = alignment >= 0
                places = places[alignment[has]]
                aligned[has] = sequence.order[places]
            rows[index].append(aligned)
            start_ns = int(sequence.start_ns[places].min())
            spans[index].append((start_ns, int(sequence.end_ns[places].max())))
    found = []
    for index, kind in enumerate(kinds):
        times = np.array(spans[index], dtype=np.int64).reshape(-1, 2)
        matrix = np.array(rows[index], dtype=np.int64).reshape(-1, len(kind.signatures))
        found.append(Found(matrix, times[:, 0], times[:, 1]))
    return tuple(found)


def _nearest(sequence: Sequence, places: Indices, kinds: list[_Kind]) -> tuple[int, Indices] | None:
    """The kind that a sequence is like, and for each of the kind's positions its place in it."""
    signatures, families = sequence.signatures[places], sequence.families[places]
    like = [kind.likeness(signatures, families) for kind in kinds]
    if not like or max(like) < _SAME_SHAPES:
        return None
    index = int(np.argmax(like))
    kind = kinds[index]
    # Positions are numbered by start; what is compared is the order of the calls.
    program_order = np.argsort(kind.example, kind="stable")
    mine = kind.families[program_order]
    alignment = np.full(len(mine), -1, dtype=np.int64)
    if np.array_equal(np.sort(mine), np.sort(families)):
        by_family = program_order[np.argsort(mine, kind="stable")]
        alignment[by_family] = np.argsort(families, kind="stable")
        return index, alignment
    for begin, other, length in _equal_runs(mine, families):
        alignment[program_order[begin : begin + length]] = np.arange(other, other + length)
    return index, alignment


def _equal_runs(one: Hashes, other: Hashes) -> list[tuple[int, int, int]]:
    """Runs that two sequences have in common, in order: where they begin in each, and how long
    they are. What replaces as many others counts as equal."""
    shorter = min(len(one), len(other))
    before = _first_difference(one[:shorter], other[:shorter])
    after = _first_difference(one[::-1][: shorter - before], other[::-1][: shorter - before])
    runs = [(0, 0, before)]
    mine, theirs = one[before : len(one) - after], other[before : len(other) - after]
    # Elsewhere than in the middle they differ in nothing; a long middle would take seconds.
    if len(mine) * len(theirs) <= _LONGEST_COMPARED**2:
        matcher = SequenceMatcher(None, mine.tolist(), theirs.tolist(), autojunk=False)
        runs += [
            (before + begin, before + start, end - begin)
            for tag, begin, end, start, stop in matcher.get_opcodes()
            if tag == "equal" or (tag == "replace" and end - begin == stop - start)
        ]
    return [*runs, (len(one) - after, len(other) - after, after)]


def _first_difference(one: Hashes, other: Hashes) -> int:
    """Length of what two sequences of one length have in common at their beginning."""
    different = np.flatnonzero(one != other)
    return int(different[0]) if len(different) else len(one)
