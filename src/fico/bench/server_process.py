"""A server of `fico.bench.programs` as a process: told and asked lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fico.runtime.errors import FicoError


class ServerProcess:
    """A running server, in a session of processes of its own: Ctrl-C does not reach it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def tell(self, order: object) -> None:
        """Send a line. FicoError if the server has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def hear(self, within_s: float) -> Any:
        """The next line. FicoError if the server ends, or says nothing in time."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise FicoError(
                f"server {self.name} gave no answer within {within_s:.0f} s",
                "see 'fico doctor'; what was done is kept",
            ) from None
        try:
            return json.loads(line)
        except ValueError:
            raise self._ended() from None

    def check(self) -> None:
        """FicoError if it has ended."""
        if self._process.poll() is not None:
            raise self._ended()

    def _ended(self) -> FicoError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        code = self._process.poll()
        if said:
            how = said[-1].removeprefix("fico: ")
        elif code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit code {code}"
        return FicoError(f"server {self.name} has ended: {how}", "what was done is kept")

    def end_input(self) -> None:
        """Ask it to end: it does after the request under way."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self, within_s: float) -> None:
        """End it and all that it started, by force if its input's end does not do it in time."""
        self.end_input()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


def close_all(servers: Sequence[ServerProcess], within_s: float) -> None:
    """End them at the same time."""
    for server in servers:
        server.end_input()
    deadline = time.monotonic() + within_s
    for server in servers:
        server.close(max(0.0, deadline - time.monotonic()))
