"""The program that others are profiled beside, as a tenant of the session."""

from __future__ import annotations

import select
import subprocess
import sys

from fico import _native
from fico.records.profile import Neighbour
from fico.runtime.errors import FicoError

NAME = "fico-neighbour"
_ANSWER_WITHIN_S = 60.0


class NeighbourProcess:
    """A running neighbour. Its answers come at once; FicoError if it has ended or gives none."""

    def __init__(self, gpu: str, units: int, sms: int, emulated: bool) -> None:
        """Start it on so many units, which have so many SMs, and wait until it is ready."""
        command = [_native.neighbour_path(), str(sms), *(["--emulated"] if emulated else [])]
        fico = [sys.executable, "-m", "fico.cli", "run", "--gpu", gpu, "--name", NAME]
        self._process = subprocess.Popen(
            [*fico, "--quota", f"{units}u", "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for us
        )
        self._hear("ready")

    def run(self, neighbour: Neighbour) -> None:
        """Keep busy like this from now on."""
        self._ask(f"{neighbour.work} {neighbour.strength:g}", "running")

    def mark(self) -> None:
        """Begin to count its work."""
        self._ask("mark", "marked")

    def rate(self) -> float:
        """Its work per second since `mark`, in a unit of its own for each kind of work."""
        return float(self._ask("rate"))

    def stop(self) -> None:
        """Run nothing."""
        self._ask("stop", "stopped")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def _ask(self, line: str, answer: str | None = None) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._hear(answer)

    def _hear(self, expected: str | None) -> str:
        assert self._process.stdout is not None
        # Each question has one line as its answer, so nothing is ever left in our buffer.
        if not select.select([self._process.stdout], [], [], _ANSWER_WITHIN_S)[0]:
            self._process.kill()
            raise FicoError(f"the neighbour gave no answer in {_ANSWER_WITHIN_S:g} s")
        line = self._process.stdout.readline().strip()
        if not line or line != (expected or line):
            raise self._ended()
        return line

    def _ended(self) -> FicoError:
        self._process.kill()
        _, said = self._process.communicate()
        lines = said.strip().splitlines()
        words = lines[-1].removeprefix("fico: ") if lines else "without a word"
        return FicoError(f"the neighbour of the program has ended: {words}")
