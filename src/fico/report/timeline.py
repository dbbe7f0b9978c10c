"""The requests of a timeline: what was decided for each, and where its time went.

All times are the device's, in µs of the clock that all tenants share.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fico.bench.marks import Mark
from fico.runtime.timeline_file import EVENTS, FLAGS, Recording

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """Works that the policy has let go, and the waits before that."""

    at_us: float
    works: tuple[int, int]
    """[first, last) of the request."""
    units: tuple[int, int]
    level: int
    """Priority: lower goes first."""
    exclusive: bool
    """It claims its units."""
    contended: bool
    """Others were in a request."""
    late: bool
    """It was held no longer, for too long or as the session has no policy, and all that was left
    went at once."""
    no_room: Span | None
    """What was before it on the device was waited for."""
    held: Span | None
    """The policy let it wait."""


@dataclass(slots=True)
class Piece:
    """What went to the device as one, as far as a wait for its end is concerned."""

    number: int
    works: tuple[int, int]
    units: tuple[int, int]
    """Where it really went: all where the graphs for its partition were still being made."""
    level: int
    home: bool
    """On the program's own stream."""
    predicted_us: float
    """By the profile, on the units that it was granted."""
    decision: Decision | None
    issued_us: float
    begin_us: float = 0.0
    """When it was issued, or the piece before it was seen to end, whichever was later."""
    seen_us: float | None = None
    """When it was seen to have ended."""


@dataclass(frozen=True, slots=True)
class Served:
    """A request as the server of a bench saw it."""

    came_us: float
    turned_us: float
    """When the server turned to it: it came, or the one before it had been answered."""
    answered_us: float


@dataclass(slots=True)
class Request:
    """From the first decision to the end."""

    number: int
    begin_us: float
    works: int
    predicted_us: float
    """Alone on all units, by the profile."""
    graph: bool
    end_us: float | None = None
    """When the program or the keeper saw it end; no earlier than its last piece."""
    alone: bool = False
    """Nobody else was in a request meanwhile."""
    whole: bool = False
    """All of it was issued."""
    decisions: list[Decision] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    served: Served | None = None
    """Where marks say so, of a server for whom this is the whole request."""

    @property
    def is_complete(self) -> bool:
        """Whether all that it had was recorded."""
        return self.whole and self.end_us is not None and bool(self.pieces)


@dataclass(frozen=True, slots=True)
class Track:
    """One process."""

    tenant: str
    pid: int
    unit_count: int
    lost: int
    """Records that there was no room for."""
    requests: list[Request]
    models: frozenset[str] = frozenset()
    """What it served, where marks say so."""
    served: tuple[Served, ...] = ()
    """All that it answered, likewise."""


def tracks(recordings: Sequence[Recording], marks: Sequence[Mark] = ()) -> Iterator[Track]:
    """One of each process that was in a request, within the marks if there are any."""
    for recording in recordings:
        records = recording.records
        models = frozenset[str]()
        if marks:
            within = np.zeros(len(records), bool)
            for mark in marks:
                times = records["time_ns"]
                within |= (times >= mark.begin_ns) & (times <= mark.end_ns)
            records = records[within]
            named = (mark.models.get(recording.tenant) for mark in marks)
            models = frozenset(model for model in named if model is not None)
        requests = _requests(records, recording.clock_scale)
        if not requests:
            continue
        served = tuple(_served(recording, marks))
        _join(requests, served)
        yield Track(
            recording.tenant,
            recording.pid,
            recording.unit_count,
            recording.lost,
            requests,
            models,
            served,
        )


def _served(recording: Recording, marks: Sequence[Mark]) -> Iterator[Served]:
    """What this process answered within marks; another one may have had the tenant's name then."""
    per_us = 1000 * recording.clock_scale
    first_ns, last_ns = recording.records["time_ns"][[0, -1]].tolist()
    for mark in marks:
        before_us = 0.0
        for came_ns, end_ns in mark.served.get(recording.tenant, ()):
            came_us, end_us = came_ns / per_us, end_ns / per_us
            if first_ns <= end_ns and came_ns <= last_ns:
                yield Served(came_us, max(came_us, before_us), end_us)
            before_us = end_us


def _join(requests: Sequence[Request], served: Sequence[Served]) -> None:
    """Tell each request which of the server's it was, if the server's was that alone."""
    begins_us = [request.begin_us for request in requests]
    for one in served:
        first = bisect_left(begins_us, one.turned_us)
        if bisect_left(begins_us, one.answered_us) == first + 1:
            requests[first].served = one


def _requests(records: NDArray[np.void], clock_scale: float) -> list[Request]:
    """Those whose begin was recorded, in order."""
    per_us = 1000 * clock_scale
    requests: dict[int, Request] = {}
    pieces: dict[int, Piece] = {}
    last_seen_us = 0.0
    names = {number: name for name, number in EVENTS.items()}
    columns = (records[name].tolist() for name in records.dtype.names or ())
    for values in zip(*columns, strict=True):
        one = dict(zip(records.dtype.names or (), values, strict=True))
        at_us = one["time_ns"] / per_us
        event = names.get(one["event"])
        if event == "begin":
            requests[one["request"]] = Request(
                one["request"],
                at_us,
                one["last"],
                one["predicted_us"],
                bool(one["flags"] & FLAGS["graph"]),
            )
            continue
        if event == "seen":
            piece = pieces.pop(one["piece"], None)
            if piece is not None:
                piece.begin_us = max(piece.issued_us, last_seen_us)
                piece.seen_us = last_seen_us = at_us
            continue
        request = requests.get(one["request"])
        if request is None:
            continue
        works, units = (one["first"], one["last"]), (one["lo"], one["hi"])
        if event == "decision":
            request.decisions.append(
                Decision(
                    at_us,
                    works,
                    units,
                    one["level"],
                    exclusive=bool(one["flags"] & FLAGS["exclusive"]),
                    contended=bool(one["flags"] & FLAGS["contended"]),
                    late=bool(one["flags"] & FLAGS["late"]),
                    no_room=_span(one["room_from_ns"], one["room_until_ns"], per_us),
                    held=_span(one["held_from_ns"], one["time_ns"], per_us),
                )
            )
        elif event == "issue":
            piece = Piece(
                one["piece"],
                works,
                units,
                one["level"],
                home=bool(one["flags"] & FLAGS["home"]),
                predicted_us=one["predicted_us"],
                decision=request.decisions[-1] if request.decisions else None,
                issued_us=at_us,
                begin_us=at_us,
            )
            pieces[piece.number] = piece
            request.pieces.append(piece)
        elif event == "end":
            request.end_us = at_us
            request.alone = bool(one["flags"] & FLAGS["alone"])
            request.whole = bool(one["flags"] & FLAGS["whole"])
    for request in requests.values():
        # The next one may begin while this one's last piece runs.
        if request.end_us is not None and request.pieces:
            request.end_us = max(request.end_us, request.pieces[-1].seen_us or 0.0)
    return list(requests.values())


def _span(from_ns: int, until_ns: int, per_us: float) -> Span | None:
    return (from_ns / per_us, until_ns / per_us) if from_ns else None
