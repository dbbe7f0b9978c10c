"""Servers beside a session: who is capped, who is without MPS, and what they say at their end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fico.bench.server_pool import ServerPool
from fico.bench.server_process import ServerProcess
from fico.records.gpu import Gpu
from fico.runtime.errors import FicoError
from fico.runtime.session import Session
from helpers.cli import runs

SESSION = Session(Gpu(0, "GPU-0", "a GPU", "580", (8,) * 16, False))
# Says that it is ready, and for each name of a variable what it is.
ECHO = """
import json, os, sys
print('"ready"', flush=True)
for line in sys.stdin:
    print(json.dumps(os.environ.get(json.loads(line))), flush=True)
"""


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerPool]:
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "13")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/elsewhere")
    monkeypatch.setenv("LD_PRELOAD", "")
    pool = ServerPool(SESSION, [sys.executable, "-c", ECHO], {"MORE": "yes"}, [])
    yield pool
    pool.close()


def said(server: ServerProcess, name: str) -> str | None:
    server.tell(name)
    answer: str | None = server.hear(30)
    return answer


def test_capped_servers_are_kept_by_their_percentage(pool: ServerPool) -> None:
    assert not pool.has_capped([50, 25, 50])
    first = pool.capped([50, 25, 50])
    pool.await_ready()
    assert pool.has_capped([25, 50])
    assert len(set(map(id, first))) == 3
    percent = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
    assert [said(server, percent) for server in first] == ["50", "25", "50"]
    mps = SESSION.mps
    assert mps is not None
    assert said(first[0], "CUDA_MPS_PIPE_DIRECTORY") == str(mps.pipe_dir)
    assert said(first[0], "CUDA_VISIBLE_DEVICES") == "GPU-0"
    assert said(first[0], "MORE") == "yes"
    assert pool.capped([25, 50]) == [first[1], first[0]]


def test_plain_servers_find_no_mps(pool: ServerPool, tmp_path: Path) -> None:
    (server,) = pool.plain(1, tmp_path)
    pool.await_ready()
    assert said(server, "CUDA_MPS_PIPE_DIRECTORY") == str(tmp_path)
    assert said(server, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") is None
    assert said(server, "FICO_TENANT") is None
    two = pool.plain(2, tmp_path)
    pool.await_ready()
    assert two[0] is server
    assert pool.has_plain(2)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("raise SystemExit('there is no torch')", "server a has ended: there is no torch; "),
        ("raise SystemExit(3)", "server a has ended: exit code 3; what was done is kept"),
        ("import os; os.kill(os.getpid(), 9)", "server a has ended: killed by SIGKILL; "),
        ("print('not JSON')", "server a has ended: exit code 0; "),
    ],
)
def test_the_last_words_of_a_server(program: str, line: str) -> None:
    server = ServerProcess("a", [sys.executable, "-c", program], {})
    with pytest.raises(FicoError) as error:
        server.hear(30)
    assert str(error.value).startswith(line)
    server.close(5)


def test_a_server_that_does_not_end_is_killed() -> None:
    program = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    server = ServerProcess("a", [sys.executable, "-c", program], {})
    pid = server.hear(30)
    assert runs(pid)
    server.close(0.01)
    assert not runs(pid)
