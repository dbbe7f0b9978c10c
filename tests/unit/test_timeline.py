"""Timelines: what was written comes back in order, what is damaged is said, times add up."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico import _native
from fico.bench.marks import MARKS, Mark, add_mark, read_marks
from fico.report.timeline import Track, tracks
from fico.report.timeline_figures import figures, request_us
from fico.report.timeline_trace import trace_events
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.timeline_file import EVENTS, FLAGS, HEADER, RECORD, Recording, load, load_folder

UNITS = 16
SCALE = 2.0


def record(event: str, time_ns: int, *flags: str, **fields: Any) -> np.void:
    """One record; what is not given is 0."""
    one = np.zeros(1, RECORD)
    one["event"], one["time_ns"] = EVENTS[event], time_ns
    one["flags"] = sum(FLAGS[flag] for flag in flags)
    for name, value in fields.items():
        one[name] = value
    found: np.void = one[0]
    return found


def write(
    folder: Path, records: Sequence[np.void], capacity: int = 1000, tenant: str = "a"
) -> Path:
    file = _native.TimelineFile(str(folder), tenant, UNITS, SCALE, capacity)
    for one in records:
        file.add(one.tobytes())
    return Path(file.path)


@given(capacity=st.integers(2, 40), count=st.integers(0, 130))
@settings(max_examples=150, deadline=None)
def test_the_latest_records_come_back_in_order(capacity: int, count: int) -> None:
    with TemporaryDirectory() as folder:
        records = [record("seen", number, piece=number) for number in range(count)]
        path = write(Path(folder), records, capacity)
        found = load(path)
    assert found is not None
    assert (found.tenant, found.pid, found.unit_count) == ("a", os.getpid(), UNITS)
    assert found.clock_scale == SCALE
    # The oldest of a full ring may be half of the next one.
    kept = count if count < capacity else capacity - 1
    assert found.lost == count - kept
    assert found.records["piece"].tolist() == list(range(count - kept, count))


def test_each_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    paths = {write(tmp_path, [record("seen", 1, piece=number)]) for number in range(3)}
    assert len(paths) == 3
    assert {int(one.records["piece"][0]) for one in load_folder(tmp_path)} == {0, 1, 2}


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the timeline .*/none/a-.* cannot be made"):
        _native.TimelineFile(str(tmp_path / "none"), "a", UNITS, 1.0, 10)
    # More would end the process by SIGXFSZ.
    program = (
        "import sys; from fico import _native\n"
        "try: _native.TimelineFile(sys.argv[1], 'a', 16, 1.0, 1000)\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("cannot be made: File too large")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ended_while_it_made_its_file_has_none(tmp_path: Path) -> None:
    path = write(tmp_path, [])
    whole = path.read_bytes()
    # Before there was room, before the header, and before its end.
    for left in (b"", bytes(len(whole)), bytes(8) + whole[8:]):
        path.write_bytes(left)
        assert load(path) is None
        assert load_folder(tmp_path) == []


@given(part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_what_is_cut_off_is_said(part: float) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), [record("seen", number) for number in range(20)], 30)
        os.truncate(path, max(1, int(part * path.stat().st_size)))
        with pytest.raises(
            FicoError, match=r"a-.*\.timeline is damaged, or no timeline; delete it"
        ):
            load(path)


def test_what_is_foreign_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, [record("seen", 1)])
    written = path.read_bytes()

    def changed(name: str, value: object) -> None:
        header = np.frombuffer(written[: HEADER.itemsize], HEADER).copy()
        header[name] = value
        path.write_bytes(header.tobytes() + written[HEADER.itemsize :])

    for name, value in (("magic", b"ELSE"), ("capacity", 1), ("clock_scale", float("nan"))):
        changed(name, value)
        with pytest.raises(FicoError, match="is damaged, or no timeline"):
            load_folder(tmp_path)
    changed("version", 7)
    with pytest.raises(FicoError, match="is a timeline of version 7, this fico reads version 1; "):
        load_folder(tmp_path)
    path.unlink()
    with pytest.raises(UsageError, match="holds no timelines; give the folder of 'fico run"):
        load_folder(tmp_path)


GAPS = st.integers(1, 50).map(lambda number: 10 * number)
PIECES = st.lists(
    st.tuples(GAPS, GAPS, GAPS, st.integers(0, UNITS - 1), st.integers(1, UNITS), st.booleans()),
    min_size=1,
    max_size=5,
)


def requests(plans: Sequence[Sequence[tuple[int, int, int, int, int, bool]]]) -> list[np.void]:
    """What a process records of requests, each a list of pieces: how long it waits for room, is
    held, and is launched, where it goes, and whether the piece before it has ended by then."""
    records: list[np.void] = []
    now_ns, piece = 1000, 0
    running: list[int] = []

    def end_pieces(left: int) -> None:
        nonlocal now_ns
        while len(running) > left:
            now_ns += 70
            records.append(record("seen", now_ns, piece=running.pop(0)))

    for number, plan in enumerate(plans, 1):
        now_ns += 100
        records.append(record("begin", now_ns, request=number, last=len(plan)))
        for place, (room_ns, held_ns, launch_ns, lo, width, waits) in enumerate(plan):
            room = now_ns + 10
            end_pieces(0 if waits else 1)
            now_ns += 10 + room_ns
            held = now_ns
            now_ns += held_ns
            units = {"lo": lo, "hi": min(UNITS, lo + width)}
            works = {"request": number, "first": place, "last": place + 1}
            times = {"room_from_ns": room, "room_until_ns": held, "held_from_ns": held}
            records.append(record("decision", now_ns, "contended", **works, **units, **times))
            now_ns += launch_ns
            piece += 1
            running.append(piece)
            records.append(record("issue", now_ns, piece=piece, **works, **units))
        if plan[-1][-1]:
            end_pieces(0)
        now_ns += 30
        records.append(record("end", now_ns, "whole", request=number))
    end_pieces(0)
    return records


@given(
    plans=st.lists(PIECES, max_size=8),
    others=st.lists(PIECES, max_size=8),
    capacity=st.integers(2, 200),
)
@settings(max_examples=150, deadline=None)
def test_times_add_up_and_bars_do_not_overlap(
    plans: list[list[tuple[int, int, int, int, int, bool]]],
    others: list[list[tuple[int, int, int, int, int, bool]]],
    capacity: int,
) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), requests(plans), capacity, "a")
        write(Path(folder), requests(others), 1000, "b")
        found = list(tracks(load_folder(Path(folder))))
    by_name = {track.tenant: track for track in found}
    if "b" in by_name:
        assert [request.works for request in by_name["b"].requests] == [len(p) for p in others]
    for track in found:
        _check_pieces(track)
    for one in figures(found):
        spent = one.spent
        whole_us = spent.to_first_us + spent.device_us + spent.gaps_us + spent.after_us
        if one.which == "all":
            complete = [r for r in by_name[one.tenant].requests if r.is_complete]
            assert one.requests == len(complete)
            assert whole_us == pytest.approx(sum(map(request_us, complete)) / len(complete))
        assert 0 <= spent.shared_us + spent.beside_us <= spent.device_us * (1 + 1e-9)
        assert spent.held_us + spent.no_room_us + spent.launch_us <= one.p99_us * 2
        assert spent.contended_pct == 100
    _check_bars(trace_events(found, [], 1.0)["traceEvents"])


def _check_pieces(track: Track) -> None:
    for request in track.requests:
        if not request.is_complete:
            continue
        # The ring loses what is oldest: a request whose begin is there is there.
        covered = [work for piece in request.pieces for work in range(*piece.works)]
        assert covered == list(range(request.works))
        for piece in request.pieces:
            assert piece.decision is not None
            assert request.begin_us <= piece.decision.at_us <= piece.issued_us <= piece.begin_us


def _check_bars(events: list[dict[str, Any]]) -> None:
    ends: dict[tuple[int, int], float] = {}
    bars = sorted((event for event in events if event["ph"] == "X"), key=lambda one: one["ts"])
    for event in bars:
        place = event["pid"], event["tid"]
        # Cut to whole ns, as who reads them does.
        assert int(event["ts"] * 1000) >= ends.get(place, 0), event
        ends[place] = int((event["ts"] + event["dur"]) * 1000)


def mark(
    cell: str, policy: str, begin_ns: int, end_ns: int, served: Sequence[list[int]] = ()
) -> Mark:
    return Mark(cell, policy, 1, {"a": f"model of {cell}"}, begin_ns, end_ns, {"a": list(served)})


def test_marks_choose_requests(tmp_path: Path) -> None:
    ready = [(0, 0, 5, 0, 16, True)]
    records = requests([ready] * 10)
    begins = [int(one["time_ns"]) for one in records if one["event"] == EVENTS["begin"]]
    path = write(tmp_path, records)
    marks = [
        mark("x", "fico", begins[2], begins[5] - 1),
        mark("y", "fico", begins[7], begins[8] - 1),
    ]
    for one in marks:
        add_mark(tmp_path, one)
    assert read_marks(tmp_path) == marks
    recording = load(path)
    assert isinstance(recording, Recording)
    (track,) = tracks([recording], marks[:1])
    assert [request.number for request in track.requests] == [3, 4, 5]
    assert track.models == {"model of x"}
    (track,) = tracks([recording], marks)
    assert [request.number for request in track.requests] == [3, 4, 5, 8]
    assert list(tracks([recording], [mark("z", "mps", 0, 1)])) == []
    names = {event["name"] for event in trace_events([track], marks, SCALE)["traceEvents"]}
    assert {"fico: x", "fico: y", "request", "16u", "launching", "units"} <= names


def test_requests_are_joined_with_what_their_server_answered(tmp_path: Path) -> None:
    """GIVEN a request that came while the server was busy, one that it turned to at once, and an
    answer that took two requests THEN the first two are told apart from the third."""
    recording = load(write(tmp_path, requests([[(0, 0, 5, 0, 16, True)]] * 4)))
    assert recording is not None
    begins, ends = (
        [int(one["time_ns"]) for one in recording.records if one["event"] == EVENTS[event]]
        for event in ("begin", "end")
    )
    served = [
        [begins[0] - 20, ends[0] + 10],
        [begins[0], ends[1] + 30],
        [ends[1] + 40, ends[3] + 10],
    ]
    marks = [mark("x", "fico", 0, ends[-1] + 100, served)]
    (track,) = tracks([recording], marks)
    assert len(track.served) == 3
    first, second, *others = (request.served for request in track.requests)
    assert (first, second) == track.served[:2]
    assert others == [None, None]
    (figure,) = figures([track])
    # The mean of both, in µs of a device that is slowed down.
    assert figure.spent.queued_us == pytest.approx((ends[0] + 10 - begins[0]) / 2000 / SCALE)
    assert figure.spent.answer_us == pytest.approx((10 + 30) / 2000 / SCALE)
    between = begins[1] - ends[0] - 10
    assert figure.spent.before_us == pytest.approx((20 + between) / 2000 / SCALE)
    events = trace_events([track], marks, SCALE)["traceEvents"]
    _check_bars(events)
    assert sum(event["name"] == "served" for event in events) == 3


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "no",
        '{"cell": "x"}',
        '{"cell": "x", "policy": "y", "round": 1, "models": {}, "begin_ns": 2, "end_ns": 1}',
        '{"cell": "x", "policy": "y", "round": 1, "models": {}, "begin_ns": 1, "end_ns": 2, '
        '"served": {"a": [[2, 1]]}}',
    ],
)
def test_a_damaged_mark_is_named(tmp_path: Path, line: str) -> None:
    assert read_marks(tmp_path) == []
    add_mark(tmp_path, mark("x", "fico", 1, 2))
    with (tmp_path / MARKS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(FicoError, match=r"marks.jsonl:2 is damaged; delete the line"):
        read_marks(tmp_path)
