"""The command `fico`, run as people run it, in sessions that meet nobody else's."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.patience import PATIENCE_S

FICO = [sys.executable, "-m", "fico.cli"]

# A program that says its process id and then lives until its standard input ends.
WAITING = ["sh", "-c", "echo $$; exec cat"]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of its standard error; AssertionError if there are more or fewer."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.rstrip("\n")


@dataclass
class Cli:
    """Runs `fico` on the emulated GPU with a runtime folder and an arena folder of its own."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run_dir = self.folder / "run"
        self.shm_dir = self.folder / "shm"
        self.shm_dir.mkdir()
        self.arena = self.shm_dir / f"fico-{os.getuid()}-emulated"
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FICO_", "CUDA_", "LD_"))
        }
        self.env |= {
            "FICO_RUNTIME_DIR": str(self.run_dir),
            "FICO_SHM_DIR": str(self.shm_dir),
            "FICO_GPU": "emulated",
        }

    def __call__(self, *arguments: str, **env: str) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            [*FICO, *arguments],
            env=self.env | env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own; it is ended with the test."""
        process = subprocess.Popen(
            [*FICO, *arguments],
            env=self.env | env,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def tenant(self, *options: str) -> subprocess.Popen[str]:
        """Start a tenant that waits, and return when it runs."""
        process = self.start("run", *options, "--", *WAITING)
        line = read_line(process)
        assert line == f"{process.pid}\n", process.stderr and process.stderr.read()
        return process

    def status(self) -> list[dict[str, Any]]:
        """The sessions of `fico status --json`."""
        done = self("status", "--json")
        assert done.code == 0, done.err
        sessions: list[dict[str, Any]] = json.loads(done.out)["sessions"]
        return sessions

    def tenants(self) -> dict[str, dict[str, Any]]:
        """The tenants of the one session, by name."""
        (session,) = self.status()
        return {tenant["name"]: tenant for tenant in session["tenants"]}

    def leftovers(self) -> list[str]:
        """Files that a session would have to clean away: all but the lock."""
        found = [*self.shm_dir.rglob("*"), *self.run_dir.rglob("*")]
        return sorted(str(p.relative_to(self.folder)) for p in found if p.name != "lock")

    def close(self) -> None:
        """End what the test has left running."""
        self("down", "--force")
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of a process's output; TimeoutError if none comes. Unbuffered."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    line = b""
    deadline = time.monotonic() + PATIENCE_S
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"no line in {PATIENCE_S} s, only {line!r}")
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line.decode()


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll up to a deadline; AssertionError names what did not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.005)


def runs(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def new_cli(folder: Path) -> Iterator[Cli]:
    """The body of a fixture."""
    cli = Cli(folder)
    try:
        yield cli
    finally:
        cli.close()
