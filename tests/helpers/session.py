"""A session and its tenants without the command line: an arena, and processes that join it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fico import _native
from helpers import built
from helpers.patience import PATIENCE_S

# The emulated device, as docs/emulator.md describes it.
UNITS = (*([8] * 15), 12)
GPU_UUID = f"GPU-{uuid.UUID(bytes=b'fico-emulated-00')}"


def emulated_env(seed: int | None = 0, *, instant: bool = True) -> dict[str, str]:
    """The environment of a program on the emulated device, without Fico."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FICO_", "CUDA_", "LD_"))
    }
    env["LD_LIBRARY_PATH"] = str(built.driver_dir())
    if instant:
        env["FICO_EMULATED_INSTANT"] = "1"
        if seed is not None:
            env["FICO_EMULATED_SEED"] = str(seed)
    sanitizer = os.environ.get("FICO_TEST_SANITIZER")
    if sanitizer:
        env["LD_PRELOAD"] = sanitizer
        env["ASAN_OPTIONS"] = "detect_leaks=0"
        env["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1"
        env["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=20"
    return env


@dataclass
class Tenant:
    """A process of a session, with its standard streams."""

    name: str
    pid: int
    slot: int
    generation: int
    stdin: IO[str]
    stdout: IO[str]
    stderr_path: Path
    status: int | None = None

    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        try:
            self.stdin.write(line + "\n")
        except BrokenPipeError:
            raise AssertionError(f"ended with {self.wait()}: {self.stderr()}") from None

    def signal(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit status (negative for a signal). TimeoutError, with the process killed."""
        deadline = time.monotonic() + PATIENCE_S
        while self.status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.status = -signal.SIGKILL
                raise TimeoutError(f"{self.name} did not end in {PATIENCE_S} s")
            else:
                time.sleep(0.0005)
        return self.status

    def kill(self) -> None:
        """SIGKILL, and the process is gone when this returns."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        if self.status is None:
            self.kill()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):
                stream.close()


class Session:
    """An arena in a folder of its own. Ends all its tenants at the end."""

    def __init__(self, folder: Path, policy: str = "static") -> None:
        self.path = folder / "arena"
        self.folder = folder
        self.temporary = folder / "tmp"
        """The TMPDIR of the tenants."""
        self.temporary.mkdir()
        self.arena = _native.Arena.create(
            str(self.path), GPU_UUID, "emulated", "580.0", list(UNITS), True, policy
        )
        self.tenants: list[Tenant] = []
        self._started = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for tenant in self.tenants:
            tenant.close()

    def env(self, slot: int, generation: int, base: Mapping[str, str]) -> dict[str, str]:
        """What a tenant's process needs."""
        preload = [base["LD_PRELOAD"]] if "LD_PRELOAD" in base else []
        return {
            **base,
            "LD_PRELOAD": ":".join([*preload, str(built.library())]),
            "TMPDIR": str(self.temporary),
            "FICO_ARENA": str(self.path),
            "FICO_TENANT": f"{slot}:{generation}",
        }

    def start(
        self,
        command: Sequence[str | Path],
        *,
        name: str | None = None,
        quota_units: int = 0,
        quota_ppm: int = 0,
        env: Mapping[str, str] | None = None,
        before_exec: Callable[[], None] | None = None,
    ) -> Tenant:
        """Start a program as a tenant: the child joins and then becomes the program.

        Raises ArenaError where joining is refused.
        """
        self._started += 1
        name = name or f"t{self._started}"
        base = emulated_env() if env is None else env
        stderr_path = self.folder / f"stderr{self._started}"
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        gate_read, gate_write = os.pipe()
        words = [str(word) for word in command]
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(in_read, 0)
                os.dup2(out_write, 1)
                log = os.open(stderr_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(log, 2)
                member = os.read(gate_read, 64).decode()
                if member:
                    if before_exec is not None:
                        before_exec()
                    slot, generation = map(int, member.split(":"))
                    os.execve(words[0], words, self.env(slot, generation, base))
            finally:
                os._exit(127)
        for end in (in_read, out_write, gate_read):
            os.close(end)
        try:
            slot, generation = self.arena.join(
                name, pid, quota_ppm=quota_ppm, quota_units=quota_units
            )
        except BaseException:
            for end in (in_write, out_read, gate_write):
                os.close(end)
            os.waitpid(pid, 0)
            raise
        os.write(gate_write, f"{slot}:{generation}".encode())
        os.close(gate_write)
        stdin = os.fdopen(in_write, "w", buffering=1)
        stdout = os.fdopen(out_read, "r")
        tenant = Tenant(name, pid, slot, generation, stdin, stdout, stderr_path)
        self.tenants.append(tenant)
        return tenant

    def row(self, name: str) -> _native.TenantRow | None:
        return next((row for row in self.arena.tenants() if row["name"] == name), None)

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Poll up to a deadline; AssertionError names what did not come."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s: {what}; {self.arena.tenants()}")
            time.sleep(0.0005)


def run_plain(
    command: Sequence[str | Path], env: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, outside of any session."""
    return subprocess.run(
        [str(word) for word in command],
        env=dict(env),
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
