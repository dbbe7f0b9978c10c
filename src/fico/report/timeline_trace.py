"""A timeline as Chrome's trace events, for Perfetto: a process a tenant.

Its tracks: `served`, what the server of a bench answered; `requests`; `program`, what the thread
that launches does between (no room, held, launching); `device`, the pieces; and a counter of the
units that they run on. A process of its own has the cells of the bench.
Format: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from fico.bench.marks import Mark
from fico.report.timeline import Decision, Piece, Request, Track

_SERVED, _REQUESTS, _PROGRAM, _DEVICE = 1, 2, 3, 4
_TRACKS = {_SERVED: "served", _REQUESTS: "requests", _PROGRAM: "program", _DEVICE: "device"}
_BENCH = 1
"""The process of the cells; the tenants come after it."""
_BETWEEN_US = 0.002
"""Bars that follow one another at once are apart by this: times are cut to whole ns, and of bars of
one track that overlap by one the second would be misplaced."""

Event = dict[str, Any]


def trace_events(tracks: Sequence[Track], marks: Sequence[Mark], clock_scale: float) -> Event:
    """The whole file, as a JSON object. `clock_scale`: of the marks."""
    events = [
        event
        for number, track in enumerate(tracks, _BENCH + 1)
        for event in (*_names(number, track), *_events(number, track))
    ]
    events += _cells(marks, clock_scale)
    first_us = min((event["ts"] for event in events if "ts" in event), default=0.0)
    for event in events:
        if "ts" in event:
            event["ts"] = round(event["ts"] - first_us, 3)
        if "dur" in event:
            event["dur"] = round(max(0.0, event["dur"] - _BETWEEN_US), 3)
    return {"displayTimeUnit": "ns", "traceEvents": events}


def _names(process: int, track: Track) -> Iterator[Event]:
    name = " ".join([track.tenant, *sorted(track.models)])
    yield _meta(process, 0, "process_name", name=f"{name} ({track.pid})")
    yield _meta(process, 0, "process_sort_index", sort_index=process)
    for thread, name in _TRACKS.items():
        if thread == _SERVED and not track.served:
            continue
        yield _meta(process, thread, "thread_name", name=name)
        yield _meta(process, thread, "thread_sort_index", sort_index=thread)


def _meta(process: int, thread: int, what: str, **args: object) -> Event:
    return {"ph": "M", "pid": process, "tid": thread, "name": what, "args": args}


def _bar(
    place: tuple[int, int], name: str, begin_us: float, end_us: float, args: Event
) -> Iterator[Event]:
    process, thread = place
    yield {
        "ph": "X",
        "pid": process,
        "tid": thread,
        "name": name,
        "ts": begin_us,
        "dur": max(0.0, end_us - begin_us),
        "args": args,
    }


def _events(process: int, track: Track) -> Iterator[Event]:
    for one in track.served:
        queued = {"queued_us": round(one.turned_us - one.came_us, 3)}
        place = (process, _SERVED)
        yield from _bar(place, "served", one.turned_us, one.answered_us, queued)
    last = Request(0, float("inf"), 0, 0.0, graph=False)
    for request, after in pairwise([*track.requests, last]):
        if request.end_us is not None:
            # Bars of one track must not overlap.
            end_us = min(request.end_us, max(request.begin_us, after.begin_us))
            about = {
                "request": request.number,
                "took_us": request.end_us - request.begin_us,
                "predicted_us": request.predicted_us,
                "works": request.works,
                "pieces": len(request.pieces),
                "graph": request.graph,
                "alone": request.alone,
                "whole": request.whole,
            }
            yield from _bar((process, _REQUESTS), "request", request.begin_us, end_us, about)
        for decision in request.decisions:
            yield from _waits(process, request, decision)
        for piece in request.pieces:
            yield from _of_piece(process, request, piece)


def _waits(process: int, request: Request, decision: Decision) -> Iterator[Event]:
    about = {"request": request.number, "works": _range(decision.works)}
    for name, span in (("no room", decision.no_room), ("held", decision.held)):
        if span is not None:
            late = {"late": True} if name == "held" and decision.late else {}
            yield from _bar((process, _PROGRAM), name, *span, about | late)


def _of_piece(process: int, request: Request, piece: Piece) -> Iterator[Event]:
    about: Event = {
        "request": request.number,
        "works": _range(piece.works),
        "units": _range(piece.units),
        "level": piece.level,
        "home": piece.home,
        "predicted_us": round(piece.predicted_us, 3),
        "queued_us": round(piece.begin_us - piece.issued_us, 3),
    }
    decision = piece.decision
    if decision is not None:
        place, which = (process, _PROGRAM), {"piece": piece.number}
        yield from _bar(place, "launching", decision.at_us, piece.issued_us, which)
        about |= {
            "granted": _range(decision.units),
            "exclusive": decision.exclusive,
            "contended": decision.contended,
        }
    if piece.seen_us is None:
        return
    units = piece.units[1] - piece.units[0]
    yield from _bar((process, _DEVICE), f"{units}u", piece.begin_us, piece.seen_us, about)
    yield _units(process, piece.begin_us, units)
    yield _units(process, piece.seen_us, 0)


def _units(process: int, at_us: float, units: int) -> Event:
    return {"ph": "C", "pid": process, "name": "units", "ts": at_us, "args": {"units": units}}


def _cells(marks: Sequence[Mark], clock_scale: float) -> Iterator[Event]:
    if marks:
        yield _meta(_BENCH, 0, "process_name", name="fico bench")
        yield _meta(_BENCH, 0, "process_sort_index", sort_index=_BENCH)
    for mark in marks:
        begin_us, end_us = (ns / 1000 / clock_scale for ns in (mark.begin_ns, mark.end_ns))
        about = {"cell": mark.cell, "policy": mark.policy, "round": mark.round}
        yield from _bar((_BENCH, 1), f"{mark.policy}: {mark.cell}", begin_us, end_us, about)


def _range(ends: tuple[int, int]) -> str:
    return f"[{ends[0]}, {ends[1]})"
