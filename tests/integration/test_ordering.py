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
from helpers.runner import Runner, check
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
    for mode in ("plain", "shuffle", "static", "mps"):
        repeat.check(runners[mode], text)


REGRESSIONS: dict[str, str] = {}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regression(name: str, mode: str, runners: dict[str, list[Runner]]) -> None:
    lines = [line.strip() for line in REGRESSIONS[name].splitlines() if line.strip()]
    text = "\n".join([*Buffers().header(), *lines]) + "\n"
    for _ in range(20):
        for each in runners[mode]:
            check(each, text)


@pytest.fixture
def restless(tmp_path: Path) -> Iterator[list[Runner]]:
    """Two tenants of a session whose policy and quotas change all the time."""
    with Session(tmp_path, "shuffle") as session:
        made = [runner.tenant(session, "restless", seed, 3, "dlsym") for seed in (11, 12)]
        for each in made:
            check(each, random_program(0))
        stop = threading.Event()

        def change() -> None:
            step = 0
            while not stop.wait(0.0005):
                step += 1
                session.arena.set_policy(("static", "shuffle", "static", "mps")[step % 4])
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
