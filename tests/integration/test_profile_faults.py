"""What goes wrong with `fico profile`: one clear line, and nothing is left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fico.profiling.cupti import find_cupti
from helpers import built
from helpers.cli import Cli, new_cli, until
from helpers.patience import PATIENCE_S

KERNELS = ("work op=spin us_per_block=200", "step op=spin us_per_block=50")
SERVES = "work*264,step*16x3"


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def loop(request: str = SERVES, seconds: str = "600") -> list[str]:
    kernels = [word for kernel in KERNELS for word in ("--kernel", kernel)]
    program = str(built.program("request_loop"))
    return [program, *kernels, "--request", f"token={request}", "--seconds", seconds]


def processes_of(fico: Cli) -> list[int]:
    """Live processes that were started below the test's folder, whoever their parent is now."""
    mark = f"FICO_SHM_DIR={fico.shm_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark in words and state != "Z":
                found.append(int(entry.name))
    return found


def assert_nothing_is_left(fico: Cli) -> None:
    until(lambda: processes_of(fico) == [], "the end of all processes")
    assert fico.leftovers() == []


def fails(fico: Cli, *arguments: str, code: int = 1, **env: str) -> str:
    """The one line of a command that fails, the lines of its progress left out."""
    done = fico("profile", *arguments, **env)
    assert done.code == code, done.err
    lines = [line for line in done.err.splitlines() if line.startswith("fico: ")]
    assert done.err.splitlines()[-1:] == lines, done.err
    assert_nothing_is_left(fico)
    assert not (fico.folder / "out.fico").exists()
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "out.fico"], "no program is given; fico profile -o FILE -- python serve.py"),
        (["--", "true"], "no file is given for the profile; add -o FILE"),
        (["-o", "none/out.fico", "--", "true"], "the folder none of out.fico does not exist"),
        (["-o", "out.fico", "--raw", "none/r", "--", "true"], "the folder none of r does not"),
        (["-o", ".", "--", "true"], ". is a folder; name a file"),
        (["-o", "out.fico", "--start-within", "0", "--", "true"], "--start-within 0 is no time"),
        (["-o", "out.fico", "--start-within", "soon", "--", "true"], "--start-within"),
        (["show", "out.fico", "--", "true"], "fico profile show runs no program"),
    ],
)
def test_wrong_usage(fico: Cli, arguments: list[str], says: str) -> None:
    assert says in fails(fico, *arguments, code=2)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (["no-such-program"], "there is no program 'no-such-program' in PATH"),
        (
            ["sh", "-c", "echo one; echo the model is not there >&2; exit 3"],
            "the program ended (exit code 3) before it was measured: the model is not there; "
            "let it serve requests until it is stopped",
        ),
        (["sh", "-c", "kill -9 $$"], "the program ended (signal 9) before it was measured: it"),
        (loop(seconds="0.5"), "the program ended (exit code 0) before it was measured"),
    ],
    ids=["none", "error", "killed", "short"],
)
def test_a_program_that_ends(fico: Cli, program: list[str], says: str) -> None:
    assert says in fails(fico, "-o", "out.fico", "--", *program)


def test_a_program_that_never_uses_the_gpu(fico: Cli) -> None:
    program = ["sh", "-c", "echo waiting for a client; exec cat /dev/zero > /dev/null"]
    line = fails(fico, "-o", "out.fico", "--start-within", "1", "--", *program)
    assert "has not launched anything on the GPU within 1 s" in line
    assert "(its last line: waiting for a client)" in line
    assert "--start-within" in line


def test_a_program_that_never_repeats(fico: Cli) -> None:
    # Some seconds of requests, no two alike.
    program = loop()
    for number in range(6000):
        program += ["--request", f"r{number}=step*{200 + number}"]
    line = fails(fico, "-o", "out.fico", "--start-within", "2", "--", *program)
    assert "the program does not repeat itself" in line


def test_a_gpu_that_is_in_use(fico: Cli) -> None:
    tenant = fico.tenant("--name", "other")
    done = fico("profile", "-o", "out.fico", "--", *loop())
    assert done.code == 1
    assert done.line == (
        "fico: GPU emulated has a session: a program is profiled alone; "
        "end the session with 'fico down' first"
    )
    # It was left alone.
    assert list(fico.tenants()) == ["other"]
    assert tenant.poll() is None


def test_a_cupti_that_lacks_functions(fico: Cli) -> None:
    wrong = built.driver_dir() / "libcuda.so.1"
    line = fails(fico, "-o", "out.fico", "--", *loop(), FICO_CUPTI=str(wrong))
    assert line == (
        "fico: nothing can be recorded: libcupti.so.13 lacks functions of CUDA 13.0: "
        "use its matching version"
    )


def test_a_cupti_that_refuses(fico: Cli) -> None:
    # The real one, which finds no real GPU.
    cupti = find_cupti([])
    if cupti is None:
        pytest.skip("no CUPTI is installed")
    line = fails(fico, "-o", "out.fico", "--", *loop(), FICO_CUPTI=str(cupti))
    assert line.startswith("fico: CUPTI ")
    assert "CUPTI_ERROR_" in line


def test_a_neighbour_without_memory(fico: Cli) -> None:
    limit = "0=512M"
    line = fails(fico, "-o", "out.fico", "--", *loop(), CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=limit)
    assert "the neighbour of the program has ended: fico-neighbour: it needs 1 GiB" in line


def test_several_workers(fico: Cli) -> None:
    words = shlex.join(loop())
    line = fails(fico, "-o", "out.fico", "--", "sh", "-c", f"{words} & {words}")
    assert "2 processes of the program use the GPU" in line
    assert "one is profiled at a time; let it run one worker" in line


def started(fico: Cli) -> subprocess.Popen[str]:
    """`fico profile` in the middle of measuring."""
    process = fico.start("profile", "-o", "out.fico", "--", *loop())
    assert process.stderr is not None
    for line in process.stderr:
        if "of 16 units" in line:
            return process
    raise AssertionError("it did not begin to measure")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_it_is_told_to_end(fico: Cli, number: signal.Signals, code: int) -> None:
    process = started(fico)
    os.killpg(process.pid, number)
    assert process.wait(PATIENCE_S) == code
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert_nothing_is_left(fico)


def test_it_is_killed(fico: Cli) -> None:
    """GIVEN a profiler that was killed THEN its program ends too, and the next one works."""
    process = started(fico)
    process.kill()
    process.wait()
    until(lambda: processes_of(fico) == [], "the end of the program")
    left = fico.leftovers()
    assert any("fico-trace-" in name for name in left)

    # The next one cleans up, whatever becomes of it.
    line = fails(fico, "-o", "out.fico", "--", "sh", "-c", "exit 5")
    assert "exit code 5" in line
