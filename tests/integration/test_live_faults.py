"""Tenants under a policy that decides launch by launch, each for itself: they are killed, stopped,
forked, hang, and lose their session; the others go on, and what they compute is right."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fico import _native
from fico.runtime.timeline_file import EVENTS, FLAGS, load_folder
from fico.runtime.traces import trace_of
from helpers import built
from helpers.cut_graph_rules import CUT_RULES
from helpers.patience import PATIENCE_S
from helpers.profiles import synthetic_profile
from helpers.race_free import Buffers
from helpers.runner import Runner, check, tenant
from helpers.session import Session, Tenant, emulated_env
from helpers.traces import synthetic

KILLS = min(25, int(os.environ.get("FICO_KILLS", "25")))
UNITS = 16


@dataclass(frozen=True)
class Schedule:
    """A policy with its settings. Where it holds tenants, it is for the one of priority -5."""

    policy: str
    settings: dict[str, float]

    def __str__(self) -> str:
        return "-".join([self.policy, *self.settings])


CLAIMS = Schedule("lithos", {"steal_from_active": 1})
SCHEDULES = (
    Schedule("fico", {}),
    Schedule("krisp", {"overlap": 0}),
    CLAIMS,
    Schedule("reef", {"all_realtime": 0}),
    Schedule("orion", {"all_first": 0}),
    Schedule("jumble", {}),
)
HOLDING = tuple(each for each in SCHEDULES if each.policy in ("reef", "orion"))


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    assert isinstance(request.param, Schedule)
    return request.param


class Live:
    """A session under a policy, and tenants of it that launch kernels and graphs of 40 kernels on
    one emulated GPU in real time."""

    def __init__(self, folder: Path, schedule: Schedule, dilation: int = 1) -> None:
        self.session = Session(folder)
        self.arena = self.session.arena
        self.dilation = dilation
        self.env = emulated_env(None, instant=False)
        self.env["FICO_EMULATED_DILATION"] = str(dilation)
        self.env["FICO_EMULATED_STATE"] = str(folder / "device")
        # Whatever happens to tenants, what they recorded can be read.
        self.timelines = folder / "timelines"
        self.timelines.mkdir()
        self.env |= {"FICO_TIMELINE": str(self.timelines), "FICO_TIMELINE_RECORDS": "500"}
        self.use(schedule)

    def use(self, schedule: Schedule) -> None:
        self.arena.set_policy(schedule.policy, schedule.settings)

    def start(self, *args: str, priority: int = 0) -> Tenant:
        command = [str(built.program("busy_tenant")), "--nodes", "40", *args]
        made = self.session.start(command, quota_units=3, env=self.env)
        self.arena.update(made.name, priority=priority)
        return made

    def ready(self, *args: str, priority: int = 0) -> Tenant:
        made = self.start(*args, priority=priority)
        assert made.stdout.readline() == "ready\n", made.stderr()
        return made

    def counts(self, tenant: Tenant) -> dict[str, int]:
        row = self.session.row(tenant.name)
        assert row is not None, f"{tenant.name} is no tenant any more: {tenant.stderr()}"
        return row["counters"]

    def goes_on(self, tenant: Tenant, counter: str = "graph_launches", times: int = 2) -> None:
        """Wait until a tenant has counted so much more than at the time of the call."""
        wanted = self.counts(tenant)[counter] + times
        self.session.until(
            lambda: self.counts(tenant)[counter] >= wanted,
            30,
            f"{tenant.name} counts {counter} up to {wanted}",
        )

    def ends_right(self, tenant: Tenant) -> None:
        tenant.say("")
        said = tenant.stdout.readline()
        assert said.startswith("right"), f"{said} {tenant.stderr()}"
        assert tenant.wait() == 0
        assert tenant.stderr() == ""

    def has_nothing_left(self) -> None:
        """Who comes now sees nobody and gets the whole GPU; and all timelines can be read."""
        assert load_folder(self.timelines)
        self.arena.sweep()
        if self.arena.policy == "jumble":
            return
        seat = Observer(self)
        assert seat.piece() == (0, UNITS)
        assert not seat.is_contended
        seat.leave()


class Observer:
    """This process as one more tenant, which is in a request all the time."""

    def __init__(self, live: Live) -> None:
        self._arena = live.arena
        self._dilation = live.dilation
        self._member = live.arena.join("observer", os.getpid(), quota_units=1)
        self._seat = _native.Seat(str(live.session.path), self._member[0])
        self._seat.refresh()
        self._begin()

    def _now_us(self) -> float:
        return time.monotonic_ns() / 1000 / self._dilation

    def _begin(self) -> None:
        self._seat.begin(self._now_us(), synthetic("resnet152"))

    def piece(self) -> tuple[int, int] | None:
        """The units that its next piece would get; None on a hold."""
        now_us = self._now_us()
        self._seat.refresh()
        piece = self._seat.want(now_us)
        if piece is None:
            return None
        self._seat.end(now_us)
        self._begin()
        return piece[0]

    @property
    def is_contended(self) -> bool:
        """Whether it has seen another tenant in a request when it looked last."""
        return self._seat.is_contended

    def looks(self) -> bool:
        """Whether another tenant is in a request now."""
        self.piece()
        return self.is_contended

    def leave(self) -> None:
        self._arena.leave(*self._member)


@pytest.fixture
def live(tmp_path: Path, schedule: Schedule) -> Iterator[Live]:
    made = Live(tmp_path, schedule)
    with made.session:
        yield made


def test_kills_at_random_moments(live: Live, schedule: Schedule) -> None:
    """GIVEN tenants that go before others, killed at any time THEN the others go on and end right,
    and nothing stays claimed."""
    source = random.Random(schedule.policy)
    lasting = [live.ready() for _ in range(2)]
    for _ in range(KILLS):
        mortal = live.start(priority=-5)
        if source.random() < 0.8:
            assert mortal.stdout.readline() == "ready\n", mortal.stderr()
        for _ in range(source.choice((0, 10, 100, 1000))):
            os.sched_yield()
        mortal.kill()
        for each in lasting:
            live.goes_on(each, times=1)
    for each in lasting:
        live.ends_right(each)
    live.has_nothing_left()


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path, CLAIMS)
    with made.session:
        yield made


def test_claims_of_the_killed_come_back_at_once(claims: Live) -> None:
    """GIVEN a neighbour that holds units WHEN it is killed and swept up THEN the next piece has all
    units: nobody waits for a sign of life first."""
    for _ in range(10):
        mortal = claims.ready()
        observer = Observer(claims)
        claims.session.until(
            lambda seen=observer: seen.piece() != (0, UNITS),  # type: ignore[misc]
            20,
            "the neighbour's claim is seen",
        )
        mortal.kill()
        claims.arena.sweep()
        assert observer.piece() == (0, UNITS)
        observer.leave()


def test_a_stopped_tenant_is_passed_by(live: Live) -> None:
    """GIVEN a tenant that goes before others, stopped at any time of a request
    THEN the others are decided on as if it were not there, until it goes on."""
    stopped = live.ready(priority=-5)
    other = live.ready()
    observer = Observer(live)
    for _ in range(5):
        live.session.until(observer.looks, PATIENCE_S, "somebody is in a request")
        stopped.signal(signal.SIGSTOP)
        live.goes_on(other)
        late = live.counts(other)["late_pieces"]
        live.goes_on(other, "pieces", 20)
        # Of those on their way when it was stopped; without it no piece waits too long.
        assert live.counts(other)["late_pieces"] <= late + 1
        stopped.signal(signal.SIGCONT)
        live.goes_on(stopped)
    observer.leave()
    live.ends_right(stopped)
    live.ends_right(other)
    live.has_nothing_left()


def test_units_of_a_stopped_tenant_are_lent_out(live: Live) -> None:
    """GIVEN a tenant alone with an observer WHEN it is stopped THEN the observer gets all units."""
    stopped = live.ready(priority=-5)
    observer = Observer(live)
    for _ in range(5):
        live.session.until(observer.looks, PATIENCE_S, "the tenant is in a request")
        stopped.signal(signal.SIGSTOP)
        live.session.until(lambda: not observer.looks(), 5, "the stopped tenant is passed by")
        if live.arena.policy == CLAIMS.policy:
            assert observer.piece() == (0, UNITS)
        stopped.signal(signal.SIGCONT)
        live.session.until(observer.looks, PATIENCE_S, "the tenant goes on")
    observer.leave()
    live.ends_right(stopped)


def test_a_tenant_that_hangs_does_not_stop_the_others(live: Live) -> None:
    """GIVEN a tenant that goes before others and whose kernel never ends
    THEN they are soon let go as if it were not there."""
    live.ready("--hang", priority=-5)
    others = [live.ready() for _ in range(2)]

    def none_waits() -> bool:
        before = [live.counts(each)["late_pieces"] for each in others]
        for each in others:
            live.goes_on(each, "pieces", 30)
        return [live.counts(each)["late_pieces"] for each in others] == before

    live.session.until(none_waits, PATIENCE_S, "pieces are not held any more")
    for each in others:
        live.ends_right(each)


def test_the_lock_of_the_session_holds_nobody_up(tmp_path: Path) -> None:
    """GIVEN a process that was stopped while it changed the session, and a tenant to sweep up
    THEN those in a request give signs of life still, and sweep up later."""
    live = Live(tmp_path, SCHEDULES[0], dilation=1000)
    with live.session, open(live.session.path) as held:
        observer = Observer(live)
        busy = live.ready("--hang")
        mortal = live.ready("--hang")
        fcntl.flock(held, fcntl.LOCK_EX)
        mortal.kill()
        # Several rounds of the keeper of a tenant, which finds the dead one.
        rounds_end = time.monotonic() + 0.2
        live.session.until(lambda: time.monotonic() > rounds_end, PATIENCE_S, "some rounds")
        live.session.until(observer.looks, PATIENCE_S, "the tenant gives a sign of life")
        fcntl.flock(held, fcntl.LOCK_UN)
        gone = lambda: live.session.row(mortal.name) is None  # noqa: E731
        live.session.until(gone, PATIENCE_S, "the dead one is swept up")
        assert live.session.row(busy.name) is not None
        observer.leave()


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path, Schedule("fico", {}))
    with made.session:
        yield made


def test_one_process_of_a_tenant_is_decided_on(fico: Live) -> None:
    """GIVEN a tenant of two processes, the second by fork and exec THEN the second runs on the
    slice and is counted; WHEN the first dies THEN the second takes its seat."""
    fico.ready()
    parent = fico.ready("--fork")
    fico.goes_on(parent, "unscheduled_launches", 20)
    counts = fico.counts(parent)
    row = fico.session.row(parent.name)
    assert row is not None
    (child,) = (pid for pid in row["processes"] if pid != parent.pid)
    assert counts["pieces"] <= 3 < counts["graph_launches"]
    parent.kill()
    fico.goes_on(parent, "pieces", 50)
    unscheduled = fico.counts(parent)["unscheduled_launches"]
    fico.goes_on(parent, "pieces", 50)
    assert fico.counts(parent)["unscheduled_launches"] == unscheduled
    os.kill(child, signal.SIGKILL)


def test_a_forked_tenant_ends_right(live: Live) -> None:
    forked = live.start("--fork")
    other = live.ready()
    assert forked.stdout.readline() == "ready\n", forked.stderr()
    live.goes_on(forked)
    forked.say("")
    assert forked.stdout.readline().startswith("right")
    assert forked.wait() == 0, forked.stderr()
    live.ends_right(other)
    live.has_nothing_left()


def test_tenants_that_lose_their_session_in_a_request(live: Live) -> None:
    """GIVEN tenants that are held WHEN the session ends them THEN they go on as without Fico."""
    for _ in range(5):
        tenants = [live.ready(priority=-i) for i in range(3)]
        for each in tenants:
            live.arena.leave(each.slot, each.generation)
        for each in tenants:
            live.session.until(
                lambda said=each.stderr: "the session was ended" in said(),  # type: ignore[misc]
                20,
                "the tenant notices",
            )
            each.say("")
            assert each.stdout.readline().startswith("right"), each.stderr()
            assert each.wait() == 0


def test_all_policies_in_turn(tmp_path: Path) -> None:
    """GIVEN a policy and settings that change every half millisecond THEN results are right."""
    source = random.Random(0)
    settings = [*SCHEDULES, *(Schedule(name, {}) for name in _native.live_policies())]
    live = Live(tmp_path, settings[0])
    with live.session:
        tenants = [live.ready(priority=-i) for i in range(2)]
        before = [live.counts(each)["graph_launches"] for each in tenants]

        def have_gone_on() -> bool:
            live.use(source.choice(settings))
            return all(
                live.counts(each)["graph_launches"] > launches + 200
                for each, launches in zip(tenants, before, strict=True)
            )

        live.session.until(have_gone_on, PATIENCE_S, "200 graphs are launched")
        for each in tenants:
            live.ends_right(each)
        live.use(SCHEDULES[0])
        live.has_nothing_left()


def threads(count: int, steps: int, seed: int) -> str:
    """A program whose threads each launch kernels and graphs over a buffer and a stream of their
    own; the last one captures its graphs all the time."""
    source = random.Random(seed)
    lines = [f"0 stream_create s{t} {t % 2} {t % 3}" for t in range(count)]
    lines += [f"0 post p{t}" for t in range(1, count)]
    lines += [f"{t} await p{t}" for t in range(1, count)]
    for t in range(count - 1):
        lines += [f"{t} graph_create g{t}", f"{t} node_kernel g{t} 0 - mix d{t} 1"]
        lines += [f"{t} node_kernel g{t} {n} {n - 1} mix d{t} {n}" for n in range(1, 40)]
        lines.append(f"{t} instantiate x{t} g{t}")
    last = count - 1
    for step in range(steps):
        for t in range(last):
            if source.random() < 0.5:
                lines.append(f"{t} graph_launch x{t} s{t}")
            else:
                lines.append(f"{t} launch s{t} plain mix d{t} {step}")
            if source.random() < 0.2:
                lines.append(f"{t} stream_sync s{t}")
        if step % 4 == 0:
            made = f"{10 + step}"
            lines.append(f"{last} begin_capture s{last} thread")
            lines += [f"{last} launch s{last} plain mix d{last} {n}" for n in range(20)]
            lines += [f"{last} end_capture s{last} g{made}", f"{last} instantiate x{made} g{made}"]
            lines.append(f"{last} graph_launch x{made} s{last}")
    return "\n".join([*Buffers().header(), *lines]) + "\n"


@pytest.fixture
def pair(tmp_path: Path, schedule: Schedule) -> Iterator[tuple[Session, list[Runner]]]:
    """Two runners of programs as tenants, the emulated device in random order."""
    with Session(tmp_path) as session:
        session.arena.set_policy(schedule.policy, schedule.settings)
        made = [tenant(session, str(schedule), seed, 3, "dlsym") for seed in (1, 2)]
        yield session, made
        for each in made:
            each.close()


def test_threads_launch_at_the_same_time(pair: tuple[Session, list[Runner]]) -> None:
    session, runners = pair
    for seed in range(3):
        for each in runners:
            check(each, threads(4, 24, seed))
    for row in session.arena.tenants():
        assert row["counters"]["driver_errors"] == 0, row
        assert row["counters"]["pieces"] > 0, row


@pytest.fixture
def profiled(tmp_path: Path) -> Iterator[tuple[Session, Runner]]:
    """A runner whose profile knows requests of 60 launches, beside another tenant."""
    rows: list[_native.TableRow] = [
        ("mix2" if i % 3 == 2 else "mix", (4, 1, 1), (32, 1, 1)) for i in range(60)
    ]
    known = trace_of(synthetic_profile("resnet152-bs8-graph").launches[:60], from_graph=False)
    table = tmp_path / "table"
    _native.write_kernel_table(str(table), [(rows, known)])
    with Session(tmp_path, "jumble") as session:
        session.arena.join("neighbour", os.getpid())
        made = tenant(session, "profiled", 1, 3, "dlsym", {"FICO_PROFILE_TABLE": str(table)})
        yield session, made
        made.close()


def test_threads_beside_requests_of_a_profile(profiled: tuple[Session, Runner]) -> None:
    """GIVEN a thread that launches requests of the profile and others that launch other things
    THEN memory is right: their requests begin in the midst of each other."""
    session, runner = profiled
    for seed in range(4):
        others = threads(3, 24, seed).splitlines()
        lines = ["0 stream_create s9 1 0"]
        for _ in range(3):
            lines += [
                f"3 launch s9 plain {'mix2 d3 d3' if i % 3 == 2 else 'mix d3'} {i}"
                for i in range(60)
            ]
            lines.append("3 stream_sync s9")
        lines[1:1] = ["0 post p9", "3 await p9"]
        check(runner, "\n".join([*others, *lines]) + "\n")
    (row,) = (row for row in session.arena.tenants() if row["name"] != "neighbour")
    assert row["counters"]["requests"] > 0
    assert row["counters"]["driver_errors"] == 0


STREAMS = "0 stream_create s0 0 0; 0 stream_create s1 0 0; 0 stream_create s2 1 0"
STREAMS += "; 0 stream_create s3 1 1; 0 event_create e0"


def test_graphs_in_pieces(pair: tuple[Session, list[Runner]]) -> None:
    """GIVEN graphs of all kinds, in each policy's pieces THEN memory is right."""
    session, runners = pair
    for rule in CUT_RULES.values():
        lines = [*Buffers().header(), *STREAMS.split("; "), rule]
        for each in runners:
            check(each, "\n".join(lines) + "\n")
    for row in session.arena.tenants():
        counters = row["counters"]
        assert counters["driver_errors"] == 0, row
        assert counters["open_graphs"] == 0, row
        if session.arena.policy in ("jumble", "fico"):
            assert counters["segments"] > 0, row
            assert counters["unsegmented_graphs"] > 0, row


def test_a_bound_that_is_no_number_is_reported(tmp_path: Path) -> None:
    """GIVEN a bound that can't be read THEN the usual one holds, and a line says so."""
    with Session(tmp_path, "jumble") as session:
        runner = tenant(session, "jumble", 14, 8, "dlsym", {"FICO_PARTITIONS": "many"})
        rule = next(iter(CUT_RULES.values()))

        def is_said() -> bool:
            # Until a partition is asked for, which is drawn at random.
            check(runner, "\n".join([*Buffers().header(), *STREAMS.split("; "), rule]) + "\n")
            (started,) = session.tenants
            line = "FICO_PARTITIONS is 'many', not a number: it is taken as 12"
            return line in started.stderr()

        session.until(is_said, PATIENCE_S, "the line about the bound")
        runner.close()


@pytest.mark.parametrize("most", [1, 100])
def test_no_more_partitions_than_may_be(tmp_path: Path, most: int) -> None:
    """GIVEN a policy that asks for other units each time WHEN there are as many partitions as may
    be THEN the nearest is taken, or one more made where none is near: both are counted."""
    with Session(tmp_path, "jumble") as session:
        runner = tenant(session, "jumble", 14, 8, "dlsym", {"FICO_PARTITIONS": str(most)})
        rule = next(iter(CUT_RULES.values()))
        lines = [*Buffers().header(), *STREAMS.split("; "), rule]
        wanted = ("near_partitions", "extra_partitions") if most == 1 else ("partitions_created",)
        for _ in range(30):  # which are made by a thread, after they were asked for
            check(runner, "\n".join(lines) + "\n")
            (row,) = session.arena.tenants()
            counters = row["counters"]
            if sum(counters[name] for name in wanted) > 1:
                break
        assert counters["driver_errors"] == 0
        if most == 1:
            assert counters["near_partitions"] + counters["extra_partitions"] > 0
        else:
            assert counters["near_partitions"] == counters["extra_partitions"] == 0
            assert counters["partitions_created"] > 1
        runner.close()


def test_a_near_partition_has_three_quarters_of_what_was_granted(tmp_path: Path) -> None:
    """GIVEN as many partitions as may be WHEN others are asked for THEN each piece that goes to
    what is nearest is inside of what was granted, and has three quarters of its units."""
    live = Live(tmp_path, Schedule("jumble", {}))
    live.env |= {"FICO_PARTITIONS": "2", "FICO_TIMELINE_RECORDS": "100000"}
    with live.session:
        one, other = live.ready(), live.ready()
        live.goes_on(one, "near_partitions", 40)
        live.ends_right(one)
        live.ends_right(other)
    pieces = 0
    for recording in load_folder(live.timelines):
        # The ring may begin behind a decision.
        first = int(np.argmax(recording.records["event"] == EVENTS["decision"]))
        for record in recording.records[first:]:
            if record["event"] == EVENTS["decision"]:
                lo, hi = int(record["lo"]), int(record["hi"])
            elif record["event"] == EVENTS["issue"] and not record["flags"] & FLAGS["home"]:
                assert lo <= record["lo"] < record["hi"] <= hi
                assert 4 * (int(record["hi"]) - int(record["lo"])) >= 3 * (hi - lo)
                pieces += (lo, hi) != (record["lo"], record["hi"])
    assert pieces > 0
