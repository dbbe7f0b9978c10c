"""`fico run --timeline` and `fico timeline`: what real processes decided."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fico.records.gpu import Gpu
from fico.records.profile import Profile
from fico.report.timeline import Request, Track, tracks
from fico.runtime import profile_file
from fico.runtime.gpus import EMULATED, find_gpu
from fico.runtime.timeline_file import load_folder
from helpers import built
from helpers.cli import Cli, new_cli, read_line, until
from helpers.patience import PATIENCE_S
from helpers.profiles import synthetic_profile

KERNELS = 24
FIRST = "embed"
"""The first kernel of a request, the only one of its name."""
DURATION_US = 40.0
UNITS = 16


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def profile_of(gpu: Gpu, graph: bool) -> Profile:
    """A request of as many kernels alike, each of which takes the whole GPU."""
    model = synthetic_profile("vgg16-bs8-graph")
    launches = tuple(
        replace(
            model.launches[0],
            position=position,
            name="gemm" if position else FIRST,
            mangled="gemm" if position else FIRST,
            grid=(64, 1, 1),
            block=(256, 1, 1),
            gap_us=1.0,
            duration_us=DURATION_US,
            scaling_us=tuple(DURATION_US * UNITS / units for units in range(1, UNITS + 1)),
            right_units=UNITS,
            from_graph=graph,
        )
        for position in range(KERNELS)
    )
    traces = (replace(model.traces[0], launches=len(launches), from_graph=graph),)
    return replace(model, gpu=gpu, launches=launches, traces=traces)


def start(
    fico: Cli,
    name: str,
    graph: bool = True,
    records: int | None = None,
    timeline: str = "tl",
    kernels: int = KERNELS,
) -> subprocess.Popen[str]:
    """A tenant under the policy fico that is past its first request.

    `kernels`: of a request of the program; in its profile there are all.
    """
    path = fico.folder / f"{name}.fico"
    profile_file.save(profile_of(find_gpu(EMULATED), graph), path)
    options = ["--policy", "fico", "--name", name, "--profile", str(path), "--timeline", timeline]
    loop = [str(built.program("request_loop"))]
    for kernel in (FIRST, "gemm"):
        loop += ["--kernel", f"{kernel} op=spin us_per_block=20"]
    loop += ["--request", f"r={FIRST}*64,gemm*64x{kernels - 1}", *(["--graph"] if graph else [])]
    more = {} if records is None else {"FICO_TIMELINE_RECORDS": str(records)}
    program = fico.start("run", *options, "--", *loop, **more)
    assert read_line(program) == "ready\n", program.stderr and program.stderr.read()
    return program


def recorded(fico: Cli) -> dict[str, Track]:
    return {track.tenant: track for track in tracks(load_folder(fico.folder / "tl"))}


def complete(track: Track) -> list[Request]:
    return [request for request in track.requests if request.is_complete]


def from_its_start(request: Request) -> bool:
    """Not one that was under way when another tenant came, before whom nothing was decided."""
    return bool(request.decisions) and request.decisions[0].works[0] == 0


def both_go_on(fico: Cli, requests: int = 30) -> None:
    """Wait until two tenants have had so many requests beside each other."""

    def have() -> bool:
        found = recorded(fico)
        return len(found) == 2 and all(
            sum(any(one.contended for one in request.decisions) for request in complete(track))
            >= requests
            for track in found.values()
        )

    until(have, f"{requests} requests of each beside the other")


def check(track: Track) -> None:
    """What a process recorded makes sense; AssertionError."""
    pieces = [piece for request in track.requests for piece in request.pieces]
    assert [piece.number for piece in pieces] == list(
        range(pieces[0].number, pieces[0].number + len(pieces))
    )
    numbers = [request.number for request in track.requests]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for request in complete(track):
        assert [w for piece in request.pieces for w in range(*piece.works)] == list(
            range(request.works)
        )
        assert request.end_us is not None
        before_us = request.begin_us
        for piece in request.pieces:
            decision = piece.decision
            assert decision is not None
            assert before_us <= decision.at_us <= piece.issued_us
            before_us = piece.issued_us
            lo, hi = decision.units
            assert 0 <= lo < hi <= UNITS
            assert piece.units == ((0, UNITS) if piece.home else decision.units)
            assert decision.works[0] < piece.works[1]
            if piece.seen_us is not None:
                assert piece.issued_us <= piece.begin_us <= piece.seen_us <= request.end_us
            # No kernel is faster than its blocks.
            assert request.end_us - request.begin_us > KERNELS


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "eager"])
def test_two_tenants(fico: Cli, graph: bool) -> None:
    programs = [start(fico, name, graph) for name in ("a", "b")]
    both_go_on(fico)
    for program in programs:
        program.communicate("stop\n", timeout=PATIENCE_S)
        assert program.returncode == 0
    found = recorded(fico)
    assert sorted(found) == ["a", "b"]
    for track, program in zip(found.values(), programs, strict=True):
        assert track.pid == program.pid
        check(track)
        assert all(request.graph == graph for request in track.requests)
        assert all(request.predicted_us > 0 for request in track.requests)
        assert any(len(request.pieces) > 1 for request in complete(track))
        if not graph:  # beside another every launch is decided on
            busy = [
                request
                for request in filter(from_its_start, complete(track))
                if all(one.contended for one in request.decisions)
            ]
            assert busy
            assert {len(request.decisions) for request in busy} == {KERNELS}
    done = fico("timeline", "tl", "-o", "trace.json")
    assert (done.code, done.err) == (0, "")
    assert "fastest 10%" in done.out
    assert "open trace.json in https://ui.perfetto.dev" in done.out
    events: list[dict[str, Any]] = json.loads((fico.folder / "trace.json").read_text())[
        "traceEvents"
    ]
    bars = [event for event in events if event["ph"] == "X" and event["name"] == "request"]
    assert len(bars) == sum(
        request.end_us is not None for track in found.values() for request in track.requests
    )
    rows = json.loads(fico("timeline", "tl", "--json").out)["rows"]
    assert {(row["tenant"], row["pid"]) for row in rows} == {
        (name, track.pid) for name, track in found.items()
    }


def test_an_eager_program_beside_an_idle_one_is_decided_on_once_a_mark(fico: Cli) -> None:
    """GIVEN nobody else in a request THEN a decision holds for what comes until the next mark, and
    beside another's request every launch is decided on again."""
    program = start(fico, "a", graph=False)
    idle = fico.start("run", "--name", "idle", "--", str(built.program("launch_bench")))

    def quiet() -> list[Request]:
        tracks_of = recorded(fico)
        found = complete(tracks_of["a"]) if "a" in tracks_of else []
        whole = filter(from_its_start, found)
        return [r for r in whole if not any(one.contended for one in r.decisions)]

    until(lambda: len(quiet()) >= 20, "requests beside an idle tenant")
    # A mark is made after 100 us of kernels.
    assert {len(request.decisions) for request in quiet()} == {KERNELS // 3}

    other = start(fico, "b", graph=False)

    def busy() -> list[Request]:
        whole = filter(from_its_start, complete(recorded(fico)["a"]))
        return [r for r in whole if all(one.contended for one in r.decisions)]

    until(lambda: len(busy()) >= 5, "requests beside one that is in a request")
    assert {len(request.decisions) for request in busy()} == {KERNELS}
    for each in (program, other, idle):
        each.communicate(timeout=PATIENCE_S)


def test_an_eager_program_that_ends_before_its_profile_begins_each_request_anew(fico: Cli) -> None:
    """GIVEN requests that end where a decision holds for one more launch of the profile THEN the
    first launch of the next one is seen for what it is."""
    program = start(fico, "a", graph=False, kernels=KERNELS - 2)
    idle = fico.start("run", "--name", "idle", "--", str(built.program("launch_bench")))

    def quiet() -> list[Request]:
        tracks_of = recorded(fico)
        # Not the first, which may have begun before the other tenant came, nor the one under way.
        found = tracks_of["a"].requests[1:-1] if "a" in tracks_of else []
        return [r for r in found if r.decisions and not any(one.contended for one in r.decisions)]

    until(lambda: len(quiet()) >= 20, "requests beside an idle tenant")
    requests = quiet()[1:]
    assert {request.decisions[0].works[0] for request in requests} == {0}
    assert {len(request.decisions) for request in requests} == {KERNELS // 3}
    for each in (program, idle):
        each.communicate(timeout=PATIENCE_S)


def test_a_killed_tenant_leaves_what_it_recorded(fico: Cli) -> None:
    programs = [start(fico, name, records=200) for name in ("a", "b")]
    both_go_on(fico, 5)
    os.kill(programs[0].pid, signal.SIGKILL)
    programs[0].wait()
    until(lambda: list(fico.tenants()) == ["b"], "the killed one is swept up")
    found = recorded(fico)
    for track in found.values():
        check(track)
    # The ring was full: the latest requests are there.
    assert found["a"].lost > 0
    assert len(complete(found["a"])) >= 2
    done = fico("timeline", "tl")
    assert done.code == 0
    assert f"a ({programs[0].pid}): {found['a'].lost} older records are lost" in done.out


def test_a_child_has_a_file_of_its_own(fico: Cli) -> None:
    """GIVEN a tenant that decides, and its child by fork and exec WHEN the child has the seat
    THEN each has recorded into its own file."""
    busy = str(built.program("busy_tenant"))
    options = ("--policy", "fico", "--timeline", "tl", "--name")
    other = fico.start("run", *options, "b", "--", busy, "--nodes", "40")
    assert read_line(other) == "ready\n"
    parent = fico.start("run", *options, "a", "--", busy, "--nodes", "40", "--fork")
    assert read_line(parent) == "ready\n"
    until(lambda: len(fico.tenants()["a"]["processes"]) == 2, "the child is there")
    (child,) = set(fico.tenants()["a"]["processes"]) - {parent.pid}
    before = [one for one in load_folder(fico.folder / "tl") if one.tenant == "a"]
    assert [one.pid for one in before] == [parent.pid]
    os.kill(parent.pid, signal.SIGKILL)

    def child_has_recorded() -> bool:
        found = load_folder(fico.folder / "tl")
        return any(one.pid == child and len(one.records) > 20 for one in found)

    until(child_has_recorded, "the child decides")
    after = {one.pid: one for one in load_folder(fico.folder / "tl") if one.tenant == "a"}
    assert set(after) == {parent.pid, child}
    assert after[parent.pid].records.tolist() == before[0].records.tolist()
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"FICO_TIMELINE": "/nowhere"}, "the timeline /nowhere/a-"),
        ({"FICO_TIMELINE": "/dev", "FICO_TIMELINE_RECORDS": "x"}, "FICO_TIMELINE_RECORDS is 'x'"),
    ],
    ids=["folder", "records"],
)
def test_what_cannot_be_recorded_is_counted(fico: Cli, more: dict[str, str], reason: str) -> None:
    loop = [str(built.program("request_loop")), "--kernel", "gemm op=spin us_per_block=5"]
    command = [*loop, "--request", "r=gemm*64x4", "--graph"]
    program = fico.start("run", "--policy", "fico", "--name", "a", "--", *command, **more)
    assert read_line(program) == "ready\n"
    row = fico.tenants()["a"]
    assert row["counters"]["lost_timelines"] == 1
    assert any(note.startswith(reason) for note in row["notes"])
    _, err = program.communicate("stop\n", timeout=PATIENCE_S)
    assert program.returncode == 0
    assert err.count("\n") == 1
    assert err.startswith(f"fico: no timeline is recorded: {reason}")


def test_a_launch_file_has_a_folder(fico: Cli) -> None:
    command = ["sh", "-c", "echo $FICO_TIMELINE"]
    text = f'gpu = "emulated"\ntimeline = "tl"\n[[tenant]]\nname = "a"\ncommand = {command}\n'
    (fico.folder / "t.toml").write_text(text)
    done = fico("launch", "t.toml")
    assert (done.code, done.out) == (0, f"a | {fico.folder}/tl\n")
    assert (fico.folder / "tl").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("timeline none", 2, "none holds no timelines; give the folder of 'fico run --timeline"),
        ("timeline", 2, "the following arguments are required: DIR; see 'fico timeline --help'"),
        ("run --timeline file/tl -- true", 1, "no timeline can be recorded in file/tl: Not a dire"),
        ("bench run smoke --out o --timeline tl", 2, "the simulator has no --timeline; use --dev"),
    ],
)
def test_errors(fico: Cli, arguments: str, code: int, line: str) -> None:
    (fico.folder / "file").touch()
    done = fico(*arguments.split())
    assert done.code == code
    assert done.line.startswith(f"fico: {line}")
    assert fico.leftovers() == []
