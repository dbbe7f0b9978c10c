"""`fico demo` runs to its end on any machine and leaves nothing behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import Cli, new_cli, read_line, until
from helpers.patience import PATIENCE_S


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def demo_folders(pid: int | None = None) -> list[Path]:
    mine = f"fico-demo-{os.getuid()}-" + (f"{pid}-" if pid is not None else "")
    return list(Path("/dev/shm").glob(f"{mine}*"))


def test_the_demo_shows_three_ways_of_sharing(fico: Cli) -> None:
    done = fico("demo", "--seconds", "0.5")
    assert (done.code, done.err) == (0, "")
    assert "emulated: no real one is used" in done.out
    rows = [line.split() for line in done.out.splitlines() if "fico run" not in line]
    for tenant in ("chat", "batch"):
        table = [row for row in rows if tenant in row and row[-1].endswith("x")]
        assert len(table) == 3
    assert "fico run --gpu emulated --policy static --quota 60% --name chat" in done.out


def test_the_demo_meets_no_session(fico: Cli) -> None:
    tenant = fico.tenant("--quota", "100%", "--name", "mine")
    assert fico("demo", "--seconds", "0.5").code == 0
    assert list(fico.tenants()) == ["mine"]
    assert tenant.poll() is None


def test_ctrl_c_ends_the_demo_and_what_it_started(fico: Cli) -> None:
    process = fico.start("demo", "--seconds", "10")
    while not read_line(process).startswith("  fico run"):
        pass
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, (out, err)
    assert err == ""
    assert demo_folders(process.pid) == []


def test_what_a_killed_demo_left_is_cleaned_by_the_next(fico: Cli) -> None:
    process = fico.start("demo", "--seconds", "10")
    until(lambda: bool(demo_folders(process.pid)), "the demo has made its folder")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert demo_folders(process.pid) != []
    assert fico("demo", "--seconds", "0.5").code == 0
    assert demo_folders(process.pid) == []


@pytest.mark.parametrize("seconds", ["0", "11", "nan", "long"])
def test_wrong_lengths(fico: Cli, seconds: str) -> None:
    done = fico("demo", "--seconds", seconds)
    assert done.code == 2
    assert "--seconds" in done.line
