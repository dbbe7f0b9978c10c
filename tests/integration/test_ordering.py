"""Random programs end with the same memory with and without Fico.

Every program is free of races by the rules of CUDA (helpers.race_free), so its result is known
without running it (helpers.oracle): the emulated driver alone, and Fico in each policy, must leave
exactly that memory, and every call must succeed.

FICO_EXAMPLES sets the number of random programs. A program that fails is printed; put it below as
an example once the fault is understood.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from helpers import runner
from helpers.race_free import Buffers
from helpers.runner import Runner, check, expected
from helpers.session import Session
from helpers.strategies import PROGRAMS, random_program

EXAMPLES = int(os.environ.get("FICO_EXAMPLES", "300"))


class Repeat:
    """Repeats every run after the first failure, so that hypothesis can make the program smaller
    although the schedule is random."""

    times = 1

    def check(self, runners: list[Runner], text: str) -> None:
        for _ in range(self.times):
            for each in runners:
                try:
                    check(each, text)
                except AssertionError:
                    self.times = 20
                    raise


@pytest.fixture(scope="session")
def repeat() -> Repeat:
    return Repeat()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FICO_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(text=PROGRAMS)
def test_random_programs(text: str, runners: dict[str, list[Runner]], repeat: Repeat) -> None:
    for mode in ("plain", "shuffle", "jumble", "static", "mps"):
        repeat.check(runners[mode], text)


@pytest.mark.skipif("tsan" in os.environ.get("FICO_TEST_SANITIZER", ""), reason="races on purpose")
def test_programs_without_their_waits_show(runners: dict[str, list[Runner]]) -> None:
    """GIVEN random programs whose waits are left out THEN most end with other memory.

    Without this the test above would pass on a driver that runs everything in order.
    """
    waits = ("wait", "event_sync", "event_poll", "stream_sync", "stream_poll", "ctx_sync")
    shown = tried = 0
    for seed in range(150):
        text = random_program(seed)
        # There a wait is also what joins a stream, or what keeps memory until it is not used.
        if "_capture" in text or "malloc_async" in text:
            continue
        lines = [line for line in text.splitlines() if line.split()[1] not in waits]
        if len(lines) < len(text.splitlines()):
            tried += 1
            outcomes = [each.run("\n".join(lines) + "\n") for each in runners["plain"] * 3]
            shown += any(outcome.memory != expected(text) for outcome in outcomes)
    assert tried >= 20
    assert shown > tried / 2


def test_the_programs_are_under_fico(
    runners: dict[str, list[Runner]], sessions: dict[str, Session]
) -> None:
    """GIVEN tenants under a policy that confines THEN streams move, graphs are rebuilt, and
    nothing went past the library."""
    for policy in ("static", "shuffle", "jumble"):
        for seed in range(20):
            for each in runners[policy]:
                check(each, random_program(seed))
        rows = sessions[policy].arena.tenants()
        # Who builds in the background may be done with a graph, or with a partition, before it is
        # there.
        at_launch = rows[:1] if policy == "jumble" else rows
        for row in at_launch:
            assert row["counters"]["graphs_rebuilt"] > 0, row
            assert row["counters"]["hops"] > 0, row
        for row in rows:
            counters = row["counters"]
            assert counters["launches"] > 0, row
            wrong = ("driver_errors", "uncovered_entries", "uncovered_paths")
            assert [counters[name] for name in wrong] == [0, 0, 0], row


def graphs_beside(calls: str) -> str:
    """Thread 1 makes and launches new graphs, while thread 0 makes the same calls all the time."""
    lines = ["0 stream_create s0 1 0", "0 event_create e0", "0 post p0", "1 await p0"]
    for i in range(8):
        lines += [f"1 graph_create g{i}", f"1 node_kernel g{i} 0 - mix d1 0"]
        lines += [f"1 node_kernel g{i} {n} {n - 1} mix d1 {n}" for n in range(1, 40)]
        lines += [f"1 instantiate x{i} g{i}", f"1 graph_launch x{i} pt"]
        lines += [f"0 {call}" for call in calls.split("; ")] * 20
    return "\n".join(lines)


REGRESSIONS = {
    "the context is synchronised while a graph is rebuilt": graphs_beside("ctx_sync"),
    "memory is allocated while a graph is rebuilt": graphs_beside(
        "malloc_async s0 d6; memset_async s0 d6 8 1; free_async s0 d6"
    ),
    "events are queried while a graph is rebuilt": graphs_beside(
        "launch s0 plain mix d2 1; record e0 s0; event_query e0; event_sync e0; stream_sync s0"
    ),
    "the default stream is used while a graph is rebuilt": graphs_beside(
        "launch legacy plain mix d2 1; stream_sync null; copy legacy d3 d2; copy legacy h0 d3"
    ),
    "a stream is captured while a graph is rebuilt": graphs_beside(
        "begin_capture s0 thread; launch s0 plain mix d2 1; end_capture s0 g20"
    ),
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regression(name: str, mode: str, runners: dict[str, list[Runner]]) -> None:
    lines = [line.strip() for line in REGRESSIONS[name].splitlines() if line.strip()]
    text = "\n".join([*Buffers().header(), *lines]) + "\n"
    for _ in range(6):
        for each in runners[mode]:
            check(each, text)


RESTLESS = {
    "all policies": ("static", "jumble", "shuffle", "static", "mps", "fico"),
    # All streams are at home, or none.
    "home and away": ("mps", "mps", "shuffle"),
}


@pytest.fixture(params=RESTLESS)
def restless(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Runner]]:
    """Two tenants of a session whose policy and quotas change all the time."""
    policies = RESTLESS[request.param]
    with Session(tmp_path, "shuffle") as session:
        made = [runner.tenant(session, "restless", seed, 3, "dlsym") for seed in (11, 12)]
        for each in made:
            check(each, random_program(0))
        stop = threading.Event()

        def change() -> None:
            step = 0
            while not stop.wait(0.0005):
                step += 1
                session.arena.set_policy(policies[step % len(policies)])
                session.arena.update("t1", quota_units=1 + step % 7)
                session.arena.update("t2", quota_units=1 + step % 5)

        thread = threading.Thread(target=change)
        thread.start()
        yield made
        stop.set()
        thread.join()
        for each in made:
            each.close()


def test_random_programs_while_the_session_changes(restless: list[Runner]) -> None:
    """GIVEN quotas and policy that change many times in each program THEN memory is the same."""
    for seed in range(EXAMPLES // 2):
        text = random_program(seed)
        for each in restless:
            check(each, text)
