"""The requests of a program: which kinds there are, and where each operation of each of them is.

Boundaries come from `segmentation`. What lies between two of them is a request of a kind if it
consists of the same operations, in whatever order they ran. Sequences that are nearly the same
(most operations have the same signature: a decoder's steps, whose attention grows with the
context) are one kind; the commonest sequence stands for it and the others are aligned with it.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import numpy as np

from fico.profiling.records import Window
from fico.profiling.segmentation import LEAST_REPEATS, Cut, best_cut, pieces_of
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
    cut = best_cut(pieces_of(main))
    segments = _segments(main, cut)
    kinds = _cluster(main, segments)
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
    found = []
    for sequence in sequences:
        window_segments = segments if sequence is main else _segments(sequence, cut)
        found.append(_match(sequence, window_segments, kinds))
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


def _segments(sequence: Sequence, cut: Cut) -> Indices:
    """Where segments begin, and the end of the last."""
    if not len(sequence.order):
        return np.zeros(1, dtype=np.int64)
    begins = sequence.piece_begins[cut.begins(pieces_of(sequence))]
    return np.append(begins, len(sequence.order))


def _identities(sequence: Sequence, segments: Indices) -> Hashes:
    """What each segment consists of, in whatever order."""
    with np.errstate(over="ignore"):
        return np.add.reduceat(mixed(sequence.signatures), segments[:-1])


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


def _cluster(sequence: Sequence, segments: Indices) -> list[_Kind]:
    """Group the segments by what they consist of; kinds seen often enough only."""
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
            for at, kind in enumerate(kinds)
            if 1 / _AS_LONG <= busy_ns[variant] / kind.busy_ns <= _AS_LONG
        ]
        best = max(like, default=(0.0, 0))
        if best[0] >= _SAME_SHAPES:
            kinds[-best[1]].members.append(members[variant])
        else:
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
    return [kind for kind in kinds if sum(map(len, kind.members)) >= LEAST_REPEATS]


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
    mine, theirs = kind.families[program_order].tolist(), families.tolist()
    alignment = np.full(len(mine), -1, dtype=np.int64)
    if sorted(mine) == sorted(theirs):
        by_family = program_order[np.argsort(kind.families[program_order], kind="stable")]
        alignment[by_family] = np.argsort(families, kind="stable")
        return index, alignment
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    for tag, begin, end, other, other_end in matcher.get_opcodes():
        if tag == "equal" or (tag == "replace" and end - begin == other_end - other):
            alignment[program_order[begin:end]] = np.arange(other, other_end)
    return index, alignment
