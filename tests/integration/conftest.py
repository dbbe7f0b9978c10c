"""The modes in which programs are run: on the emulated driver alone, and as tenants under Fico."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers import runner
from helpers.runner import Runner
from helpers.session import Session

MODES = ("plain", "mps", "static", "shuffle", "jumble")


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Session]]:
    """A session of each policy, for the whole test run."""
    made = {
        policy: Session(tmp_path_factory.mktemp(policy), policy)
        for policy in ("mps", "static", "shuffle", "jumble")
    }
    yield made
    for session in made.values():
        session.__exit__()


@pytest.fixture(scope="session")
def runners(sessions: dict[str, Session]) -> Iterator[dict[str, list[Runner]]]:
    """The runners of each mode, for the whole test run. They reach the driver in all ways.

    In the static session three tenants share the device with quotas of 3, 5 and 7 units.
    """
    modes = {
        "plain": [runner.plain(1, "dlsym"), runner.plain(2, "proc1"), runner.plain(3, "linked")],
        "mps": [runner.tenant(sessions["mps"], "mps", 4, 3, "proc2")],
        "static": [
            runner.tenant(sessions["static"], "static", 5, 3, "dlsym"),
            runner.tenant(sessions["static"], "static", 6, 5, "proc1"),
            runner.tenant(sessions["static"], "static", 7, 7, "linked"),
        ],
        "shuffle": [
            runner.tenant(sessions["shuffle"], "shuffle", 8, 5, "dlsym"),
            runner.tenant(sessions["shuffle"], "shuffle", 9, 3, "proc2"),
            runner.tenant(sessions["shuffle"], "shuffle", 10, 7, "linked"),
        ],
        "jumble": [
            runner.tenant(sessions["jumble"], "jumble", 13, 5, "dlsym"),
            runner.tenant(sessions["jumble"], "jumble", 14, 3, "linked"),
        ],
    }
    yield modes
    for row in modes.values():
        for each in row:
            each.close()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
