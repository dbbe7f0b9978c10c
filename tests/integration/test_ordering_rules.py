"""Each rule of CUDA's ordering with one small program, so that a failure names what broke.

A program is run many times in each mode; the emulated driver reorders at random what CUDA leaves
open, so a lost ordering shows as different memory.
"""

from __future__ import annotations

import os

import pytest

from helpers.cut_graph_rules import CUT_RULES, FIRST_MOVES
from helpers.ordering_rules import RULES
from helpers.race_free import Buffers
from helpers.runner import Runner, check, numbered, tenant
from helpers.session import Session

RUNS = int(os.environ.get("FICO_RUNS", "12"))
FRESH = 4 * RUNS

STREAMS = """
0 stream_create s0 0 0
0 stream_create s1 0 0
0 stream_create s2 1 0
0 stream_create s3 1 1
0 event_create e0
0 event_create e1
0 event_create e2
"""


def text_of(lines: str) -> str:
    body = [line.strip() for line in (STREAMS + lines).splitlines() if line.strip()]
    return "\n".join([*Buffers().header(), *body]) + "\n"


@pytest.mark.parametrize("rule", RULES | CUT_RULES)
def test_rule(rule: str, mode: str, runners: dict[str, list[Runner]]) -> None:
    text = text_of((RULES | CUT_RULES)[rule])
    for _ in range(RUNS):
        for runner in runners[mode]:
            check(runner, text)


@pytest.mark.parametrize("rule", FIRST_MOVES)
def test_the_first_stream_to_leave_its_home_does_so_within_a_graph(
    rule: str, sessions: dict[str, Session], runners: dict[str, list[Runner]]
) -> None:
    """GIVEN a program that has launched nothing yet WHEN the first pieces of its first graph go out
    at home and others do not THEN the order of the default stream begins there."""
    session = sessions["jumble"]
    check(runners["jumble"][0], text_of(CUT_RULES["pieces of a graph keep its order"]))
    for number in range(FRESH):
        fresh = tenant(session, "jumble, fresh", 2 * number + 1, 1, "dlsym")
        try:
            check(fresh, text_of(FIRST_MOVES[rule]))
        finally:
            fresh.close()


RACES = {
    "two streams without an event": """
        0 launch s2 plain mix2 d0 d1 1
        0 launch s3 plain mix2 d1 d0 2
    """,
    "a non-blocking stream beside the legacy stream": """
        0 launch s2 plain mix d0 1
        0 launch null plain mix2 d1 d0 2
    """,
    "blocking streams without legacy work between": """
        0 launch s0 plain mix d0 1
        0 launch s1 plain mix2 d1 d0 2
    """,
    "a wait before the record": """
        0 wait s3 e0
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 launch s3 plain mix2 d1 d0 2
    """,
    "the host does not wait": """
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 launch s3 plain mix d1 3
        0 post p0
        1 await p0
        1 stream_sync s2
        0 stream_sync s3
        0 host_mix h0 2
    """,
    "branches of a graph": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_kernel g0 1 - mix2 d1 d0 2
        0 instantiate x0 g0
        0 graph_launch x0 s2
    """,
}


@pytest.mark.skipif("tsan" in os.environ.get("FICO_TEST_SANITIZER", ""), reason="races on purpose")
@pytest.mark.parametrize("race", RACES)
def test_races_show(race: str, runners: dict[str, list[Runner]]) -> None:
    """GIVEN a program with a race THEN the emulated driver's schedules give different memory.

    Without this the tests above would pass on a driver that runs everything in order.
    """
    text = text_of(RACES[race])
    seen = {
        tuple(sorted(runner.run(text).memory.items()))
        for _ in range(60)
        for runner in runners["plain"]
    }
    assert len(seen) > 1, numbered(text)


ERRORS = {
    "legacy work during the capture of a blocking stream": """
        0 begin_capture s0 global
        0 launch s0 plain mix d0 1
        0 launch null plain mix d1 2
        0 end_capture s0 g0
    """,
    "synchronising a capturing stream": """
        0 begin_capture s2 global
        0 stream_sync s2
        0 end_capture s2 g0
    """,
    "querying a capturing stream": """
        0 begin_capture s2 relaxed
        0 stream_query s2
        0 end_capture s2 g0
    """,
    "synchronising the context of a capture": """
        0 begin_capture s2 relaxed
        0 ctx_sync
        0 end_capture s2 g0
    """,
    "an unsafe call in a global capture": """
        0 begin_capture s2 global
        0 post p0
        1 await p0
        1 event_query e0
        1 post p1
        0 await p1
        0 end_capture s2 g0
    """,
    "a branch that does not join": """
        0 begin_capture s2 global
        0 record e0 s2
        0 wait s3 e0
        0 launch s3 plain mix d0 1
        0 end_capture s2 g0
    """,
    "a wait for work outside of the capture": """
        0 launch s3 plain mix d0 1
        0 record e0 s3
        0 begin_capture s2 global
        0 wait s2 e0
        0 end_capture s2 g0
    """,
    "ending the capture of a stream that does not capture": """
        0 end_capture s2 g0
    """,
    "a capture ended by another thread": """
        0 begin_capture s2 global
        0 post p0
        1 await p0
        1 end_capture s2 g0
        1 post p1
        0 await p1
        0 end_capture s2 g1
    """,
    "capturing the legacy stream": """
        0 begin_capture null global
        0 begin_capture legacy relaxed
    """,
    "waiting for a captured event afterwards": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 end_capture s2 g0
        0 event_sync e0
        0 event_query e0
    """,
    "an update with another shape": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 graph_create g1
        0 node_kernel g1 0 - mix d0 1
        0 node_kernel g1 1 0 mix d0 2
        0 instantiate x0 g0
        0 exec_update x0 g1
        0 graph_launch x0 s2
    """,
    "a cooperative grid that is too large": """
        0 launch s2 coop_over mix d0 1
        0 launch s2 plain mix d0 2
    """,
    "a child that uses the driver of its parent": """
        0 fork_child cuda
        0 launch s2 plain mix d0 2
    """,
    "the driver is asked for something wrong": """
        0 instantiate x0 g7
        0 graph_launch x5 s2
        0 event_sync e9
        0 record e9 s2
    """,
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_the_drivers(case: str, mode: str, runners: dict[str, list[Runner]]) -> None:
    """A program that does something wrong gets the same results from each call as without Fico."""
    text = text_of(ERRORS[case])
    first = runners["plain"][0]
    wanted = first.run(text)
    first.close()
    assert wanted.results, numbered(text)
    for runner in runners[mode]:
        outcome = runner.run(text)
        runner.close()
        assert outcome == wanted, f"{runner.mode}\n{numbered(text)}"
