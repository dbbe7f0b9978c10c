"""Where a program is in its profiled requests, from its launches alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico import _native
from fico.runtime.traces import trace_of
from helpers.profiles import synthetic_profile

Names = list[list[str]]


def signature(name: str) -> int:
    return _native.launch_signature(name, (8, 1, 1), (256, 1, 1))


def tracker(folder: Path, traces: Names, graphs: Sequence[bool] = ()) -> _native.Tracker:
    """`graphs`: which of them came as graphs, where that is not all."""
    path = folder / "table"
    rows: list[list[_native.TableRow]] = [
        [(name, (8, 1, 1), (256, 1, 1)) for name in trace] for trace in traces
    ]
    some = synthetic_profile("resnet152-bs8-graph").launches
    known = [
        trace_of(some[: len(trace)], from_graph=is_graph)
        for trace, is_graph in zip(traces, graphs or [True] * len(traces), strict=True)
    ]
    _native.write_kernel_table(str(path), list(zip(rows, known, strict=True)))
    return _native.Tracker(str(path))


def test_a_request_is_followed_from_its_first_launch_to_its_last(tmp_path: Path) -> None:
    found = tracker(tmp_path, [["a", "b", "a", "c"], ["d", "b"]])
    steps = [found.launched(signature(name)) for name in "abacdbabac"]
    assert [step[0] for step in steps] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert not any(resynced for _, resynced, _ in steps)
    assert [completes for _, _, completes in steps] == [c in (3, 5, 9) for c in range(10)]


def test_what_is_not_in_the_profile_changes_nothing(tmp_path: Path) -> None:
    found = tracker(tmp_path, [["a", "b", "c"]])
    steps = [found.launched(signature(name)) for name in "axbyc"]
    assert [step[0] for step in steps] == [0, None, 1, None, 2]
    assert not any(resynced for _, resynced, _ in steps)


def test_requests_that_begin_alike_are_told_apart_when_they_differ(tmp_path: Path) -> None:
    found = tracker(tmp_path, [["a", "b", "c"], ["a", "b", "d", "e"]])
    steps = [found.launched(signature(name)) for name in "abde"]
    assert [step[0] for step in steps] == [0, 1, 5, 6]
    assert [step[2] for step in steps] == [False, False, False, True]


@pytest.mark.parametrize("graphs", [(False, True), (True, False)])
def test_the_same_launches_as_a_graph_and_one_by_one(
    graphs: tuple[bool, bool], tmp_path: Path
) -> None:
    """Each is known by what was profiled in its way: the other has pauses, or lacks them."""
    found = tracker(tmp_path, [["a", "b", "c"], ["a", "b", "c"]], graphs)
    assert found.trace_of_graph([signature(name) for name in "abc"]) == graphs.index(True)
    eager = 3 * graphs.index(False)
    steps = [found.launched(signature(name))[0] for name in "abcabc"]
    assert steps == 2 * [eager, eager + 1, eager + 2]


def test_a_graph_is_a_request_that_has_all_of_its_launches(tmp_path: Path) -> None:
    found = tracker(tmp_path, [["a", "b", "c"], ["a", "b"]], [False, False])
    for names, expected in (("abc", 0), ("ab", 1), ("abcd", None), ("b", None)):
        assert found.trace_of_graph([signature(name) for name in names]) == expected


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    tracker(tmp_path, [["a", "b"]])
    path = tmp_path / "table"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RuntimeError, match="damaged"):
        _native.Tracker(str(path))
    with pytest.raises(FileNotFoundError):
        _native.Tracker(str(tmp_path / "none"))


REQUESTS = st.lists(
    st.lists(st.sampled_from("abcdef"), min_size=3, max_size=12), min_size=1, max_size=3
)


@settings(max_examples=300, deadline=None)
@given(traces=REQUESTS, data=st.data())
def test_it_finds_back_after_whatever_has_happened(
    traces: Names, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However wrong it was led: two requests of one kind later it knows where the program is, if no
    other kind and no other place looks the same."""
    unique = [
        [f"{kind}-{name}-{place}" for place, name in enumerate(trace)]
        for kind, trace in enumerate(traces)
    ]
    found = tracker(tmp_path_factory.mktemp("t"), unique)
    everything = [name for trace in unique for name in trace]
    for name in data.draw(st.lists(st.sampled_from([*everything, "noise"]), max_size=30)):
        found.launched(signature(name))
    kind = data.draw(st.integers(0, len(traces) - 1))
    first = sum(map(len, unique[:kind]))
    steps = [found.launched(signature(name)) for name in unique[kind] * 2]
    places = [step[0] for step in steps]
    assert places == [first + place for place in range(len(unique[kind]))] * 2
    assert steps[-1][2]
    assert not any(resynced for _, resynced, _ in steps[1:])
