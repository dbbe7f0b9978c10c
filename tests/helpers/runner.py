"""Runs programs in op_runner processes that stay alive from one program to the next."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO

from helpers import built
from helpers.oracle import Oracle
from helpers.patience import PATIENCE_S
from helpers.session import Session, Tenant, emulated_env


class Hang(AssertionError):
    """A program did not end; the process that ran it is killed."""


@dataclass
class Outcome:
    """What a program left behind."""

    memory: dict[str, str] = field(default_factory=dict)
    """The hash of each buffer."""
    results: dict[int, int] = field(default_factory=dict)
    """Line of the program: result of the call, where it was no success."""
    error: str = ""


class Runner:
    """One mode of running: plain, or as a tenant under some policy."""

    def __init__(self, mode: str, start: Callable[[], Process]) -> None:
        self.mode = mode
        self._start = start
        self._process: Process | None = None

    def run(self, text: str) -> Outcome:
        """Run a program. Hang, or AssertionError where the process ends; both name the program."""
        if self._process is None:
            self._process = self._start()
        try:
            self._process.send(text + "end\n")
            lines = self._process.receive(time.monotonic() + PATIENCE_S)
        except (Hang, EOFError, BrokenPipeError) as error:
            how = self._process.end()
            self._process = None
            kind = Hang if isinstance(error, Hang) else AssertionError
            raise kind(f"{self.mode}: {error} {how}\n{numbered(text)}") from None
        return parse(lines)

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class Process:
    """The pipes of an op_runner with --serve."""

    def __init__(self, stdin: IO[str], stdout: IO[str], finish: Callable[[], str]) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._finish = finish
        self._rest = b""

    def send(self, text: str) -> None:
        self._stdin.write(text)
        self._stdin.flush()

    def receive(self, deadline: float) -> list[str]:
        while not self._rest.endswith(b"end\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._stdout], [], [], max(left, 0))
            if not ready:
                raise Hang("the program does not end")
            piece = os.read(self._stdout.fileno(), 65536)
            if not piece:
                raise EOFError("the process ended")
            self._rest += piece
        lines = self._rest.decode().splitlines()[:-1]
        self._rest = b""
        return lines

    def end(self) -> str:
        """End the process; gives what it said on its standard error."""
        return self._finish()


def parse(lines: list[str]) -> Outcome:
    outcome = Outcome()
    for line in lines:
        words = line.split()
        if words[0] == "result":
            outcome.results[int(words[1])] = int(words[2])
        elif words[0] == "error":
            outcome.error = line[6:]
        else:
            outcome.memory[words[0]] = words[1]
    return outcome


def runner_program(reach: str) -> list[str]:
    name = "op_runner_linked" if reach == "linked" else "op_runner"
    return [str(built.program(name)), "--reach", reach, "--serve"]


def plain(seed: int | None, reach: str = "dlsym") -> Runner:
    """The program on the emulated driver alone."""

    def start() -> Process:
        log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        process = subprocess.Popen(
            runner_program(reach),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=emulated_env(seed),
        )
        assert process.stdin
        assert process.stdout

        def finish() -> str:
            process.kill()
            process.communicate()
            log.seek(0)
            return f"(status {process.returncode}) {log.read()}"

        return Process(process.stdin, process.stdout, finish)

    return Runner(f"plain, seed {seed}, {reach}", start)


def tenant(
    session: Session,
    mode: str,
    seed: int | None,
    quota_units: int,
    reach: str,
    more_env: Mapping[str, str] | None = None,
) -> Runner:
    """The program as a tenant of a session; `mode` only names it."""

    def start() -> Process:
        env = emulated_env(seed) | dict(more_env or {})
        # Half of them build graphs for a policy's places at the launch, so that none is launched
        # as the program made it, and keep few, of partitions too; the others in the background, as
        # programs do.
        if seed is not None and seed % 2 == 1:
            env |= {"FICO_GRAPH_BUILD": "launch", "FICO_GRAPH_NODES": "200", "FICO_PARTITIONS": "3"}
        made: Tenant = session.start(runner_program(reach), quota_units=quota_units, env=env)

        def finish() -> str:
            made.close()
            return f"(status {made.status}) {made.stderr()}"

        return Process(made.stdin, made.stdout, finish)

    return Runner(f"{mode}, seed {seed}, {reach}", start)


def numbered(text: str) -> str:
    return "\n".join(f"{i:4} {line}" for i, line in enumerate(text.splitlines(), 1))


def expected(text: str) -> dict[str, str]:
    return Oracle().run(text)


def check(runner: Runner, text: str, results: dict[int, int] | None = None) -> None:
    """Run a program and compare with what its lines do one after the other."""
    outcome = runner.run(text)
    wanted = expected(text)
    assert not outcome.error, f"{runner.mode}: {outcome.error}\n{numbered(text)}"
    wrong = results or {}
    assert outcome.results == wrong, (
        f"{runner.mode}: results by line {outcome.results}, expected {wrong}\n{numbered(text)}"
    )
    different = sorted(k for k in wanted if wanted[k] != outcome.memory.get(k))
    assert not different, f"{runner.mode}: memory differs in {different}\n{numbered(text)}"
