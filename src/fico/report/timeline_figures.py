"""Where the time of requests went, for each tenant: all of them, the fastest and the slowest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from rich.table import Table

from fico.report.timeline import Piece, Request, Span, Track

_PART = 10
"""The fastest and the slowest are one in so many."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Means of requests. The first four add up to the time of a request."""

    to_first_us: float
    """From its begin until its first piece began: it may have to let one of the request before
    it end."""
    device_us: float
    """Of its pieces, each from when it was issued, or the one before it was seen to end, until it
    was seen to end."""
    gaps_us: float
    """Between its pieces, with nothing of it on the device."""
    after_us: float
    """From when its last piece was seen to end until its end."""
    shared_us: float
    """Of `device_us`: with pieces of others on units that its own had too."""
    beside_us: float
    """Of `device_us`: with pieces of others on other units only."""
    predicted_us: float
    """Of its pieces, by the profile, alone on the units that they were granted."""
    tail_us: float
    """From when its last piece was issued until its end."""
    no_room_us: float
    """That the program waited for room on the device."""
    held_us: float
    """That the policy held it."""
    launch_us: float
    """From decisions until their pieces had been issued."""
    queued_us: float | None
    """Before its begin: from when it came until its server turned to it; of those whose server said
    so. None where there are none, also of the two below."""
    before_us: float | None
    """From then until its begin."""
    answer_us: float | None
    """From its end until the server had seen it."""
    pieces: float
    gap_us: float
    """Between two pieces in a row, with nothing of it on the device."""
    units: float
    """Of its pieces, weighted by their time on the device."""
    changes: float
    """Pieces on other units than the one before."""
    at_home_pct: float
    """Pieces on the program's own stream, so on all units."""
    contended_pct: float
    """Decisions while others were in a request."""
    exclusive_pct: float
    """Decisions that claimed their units."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some requests of a process."""

    tenant: str
    pid: int
    models: tuple[str, ...]
    which: str
    """all, fastest 10% or slowest 10%."""
    requests: int
    p5_us: float
    p50_us: float
    p99_us: float
    spent: Spent

    def to_json(self) -> dict[str, Any]:
        """A flat object."""
        row = asdict(self)
        spent: dict[str, Any] = row.pop("spent")
        return row | spent


def figures(tracks: Sequence[Track]) -> Iterator[Figures]:
    """Of all requests that were recorded from their begin to their end; nothing if there is none.

    With enough of them also of the fastest and the slowest tenth.
    """
    pieces = [_seen(track) for track in tracks]
    for number, track in enumerate(tracks):
        yield from _figures(track, [*pieces[:number], *pieces[number + 1 :]])


def _seen(track: Track) -> list[Piece]:
    """Pieces whose end was seen: none begins before the one before it has ended."""
    pieces = (piece for request in track.requests for piece in request.pieces)
    return [piece for piece in pieces if piece.seen_us is not None]


def _figures(track: Track, others: Sequence[Sequence[Piece]]) -> Iterator[Figures]:
    complete = sorted(
        (request for request in track.requests if request.is_complete), key=request_us
    )
    parts = {"all": complete}
    if len(complete) >= 2 * _PART:
        few = len(complete) // _PART
        parts |= {f"fastest {100 // _PART}%": complete[:few]}
        parts |= {f"slowest {100 // _PART}%": complete[-few:]}
    for which, requests in parts.items():
        if requests:
            p5_us, p50_us, p99_us = np.percentile([*map(request_us, requests)], (5, 50, 99))
            yield Figures(
                track.tenant,
                track.pid,
                tuple(sorted(track.models)),
                which,
                len(requests),
                float(p5_us),
                float(p50_us),
                float(p99_us),
                _spent(requests, others),
            )


def request_us(request: Request) -> float:
    """From its begin to its end."""
    assert request.end_us is not None
    return request.end_us - request.begin_us


def _spent(requests: Sequence[Request], others: Sequence[Sequence[Piece]]) -> Spent:
    each = [_spent_of(request, others) for request in requests]
    means: dict[str, Any] = {}
    for name in Spent.__dataclass_fields__:
        values = [value for one in each if (value := getattr(one, name)) is not None]
        means[name] = fmean(values) if values else None
    return Spent(**means)


def _spent_of(request: Request, others: Sequence[Sequence[Piece]]) -> Spent:
    pieces, decisions, served = request.pieces, request.decisions, request.served
    assert request.end_us is not None
    # A piece whose end nobody has seen lasts until the next one, or the end.
    nexts_us = [*(piece.issued_us for piece in pieces[1:]), request.end_us]
    ends_us = [
        piece.seen_us if piece.seen_us is not None else next_us
        for piece, next_us in zip(pieces, nexts_us, strict=True)
    ]
    lasting_us = [
        max(0.0, end_us - max(piece.begin_us, request.begin_us))
        for piece, end_us in zip(pieces, ends_us, strict=True)
    ]
    to_first_us = max(0.0, pieces[0].begin_us - request.begin_us)
    gaps_us = sum(
        max(0.0, piece.begin_us - end_us)
        for piece, end_us in zip(pieces[1:], ends_us[:-1], strict=True)
    )
    neighbours = [_neighbours_us(piece, others) for piece in pieces]
    widths = [piece.units[1] - piece.units[0] for piece in pieces]
    return Spent(
        to_first_us=to_first_us,
        device_us=sum(lasting_us),
        gaps_us=gaps_us,
        after_us=max(0.0, request.end_us - ends_us[-1]),
        shared_us=sum(shared_us for shared_us, _ in neighbours),
        beside_us=sum(beside_us for _, beside_us in neighbours),
        predicted_us=sum(piece.predicted_us for piece in pieces),
        tail_us=request.end_us - pieces[-1].issued_us,
        no_room_us=sum(_length_us(one.no_room, request) for one in decisions),
        held_us=sum(_length_us(one.held, request) for one in decisions),
        launch_us=sum(
            piece.issued_us - piece.decision.at_us for piece in pieces if piece.decision is not None
        ),
        queued_us=served.turned_us - served.came_us if served is not None else None,
        before_us=request.begin_us - served.turned_us if served is not None else None,
        answer_us=served.answered_us - request.end_us if served is not None else None,
        pieces=len(pieces),
        gap_us=gaps_us / max(1, len(pieces) - 1),
        units=sum(w * us for w, us in zip(widths, lasting_us, strict=True)) / sum(lasting_us)
        if sum(lasting_us) > 0
        else fmean(widths),
        changes=sum(one.units != other.units for one, other in pairwise(pieces)),
        at_home_pct=100 * fmean(piece.home for piece in pieces),
        contended_pct=100 * fmean(one.contended for one in decisions) if decisions else 0.0,
        exclusive_pct=100 * fmean(one.exclusive for one in decisions) if decisions else 0.0,
    )


def _neighbours_us(piece: Piece, others: Sequence[Sequence[Piece]]) -> tuple[float, float]:
    """How long it had neighbours on units of its own, and on others only."""
    shared: list[Span] = []
    beside: list[Span] = []
    end_us = piece.seen_us or 0.0
    for pieces in others:
        at = bisect_right(pieces, piece.begin_us, key=lambda one: one.seen_us or 0.0)
        while at < len(pieces) and pieces[at].begin_us < end_us:
            one = pieces[at]
            span = (max(one.begin_us, piece.begin_us), min(one.seen_us or 0.0, end_us))
            overlaps = one.units[0] < piece.units[1] and piece.units[0] < one.units[1]
            (shared if overlaps else beside).append(span)
            at += 1
    shared_us = _covered_us(shared)
    return shared_us, _covered_us(shared + beside) - shared_us


def _covered_us(spans: Sequence[Span]) -> float:
    """What they cover together."""
    covered_us, until_us = 0.0, 0.0
    for begin_us, end_us in sorted(spans):
        covered_us += max(0.0, end_us - max(begin_us, until_us))
        until_us = max(until_us, end_us)
    return covered_us


def _length_us(span: Span | None, request: Request) -> float:
    """As much of it as is within the request: room may have been waited for before its begin."""
    return max(0.0, span[1] - max(span[0], request.begin_us)) if span is not None else 0.0


_DEVICE = {
    "to first": "to_first_us",
    "on device": "device_us",
    "gaps": "gaps_us",
    "after": "after_us",
    "shared": "shared_us",
    "beside": "beside_us",
    "predicted": "predicted_us",
    "tail": "tail_us",
    "queued": "queued_us",
    "before": "before_us",
    "answer": "answer_us",
}
_PROGRAM = {
    "pieces": "pieces",
    "gap": "gap_us",
    "launching": "launch_us",
    "no room": "no_room_us",
    "held": "held_us",
    "units": "units",
    "changes": "changes",
    "home %": "at_home_pct",
    "contended %": "contended_pct",
    "claimed %": "exclusive_pct",
}


def figure_tables(rows: Sequence[Figures]) -> tuple[Table, Table]:
    """Where the time went on the device, and in the program's thread; in µs."""
    device, program = _table("requests", "p5", "p50", "p99", *_DEVICE), _table(*_PROGRAM)
    for row in rows:
        lead = (row.tenant, str(row.pid), ", ".join(row.models), row.which)
        times_us = (row.p5_us, row.p50_us, row.p99_us)
        device.add_row(
            *lead,
            str(row.requests),
            *(f"{time_us:.0f}" for time_us in times_us),
            *(_rounded(getattr(row.spent, name)) for name in _DEVICE.values()),
        )
        program.add_row(*lead, *(f"{getattr(row.spent, name):.1f}" for name in _PROGRAM.values()))
    return device, program


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _table(*figures: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("tenant", "pid", "model", "which"):
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table
