"""The program that is profiled: the only tenant of a session of its own, which ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from fico.profiling.collector import TraceFile
from fico.profiling.cupti import find_cupti
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED
from fico.runtime.lock import sessions_locked
from fico.runtime.processes import look_up
from fico.runtime.session import (
    Session,
    abandon_session,
    end_session,
    ensure_session,
    known_session,
)
from fico.runtime.tenant import TenantSpec, check_startable

NAME = "fico-profiled"
_POLL_S = 0.0005
_DRAIN_S = 0.3
_END_WITHIN_S = 5.0
_LAST_WORDS_BYTES = 4096
_PROFILER = "profiler"
"""In the session's folder: the process that profiles in it."""
_LIVES_ON = "let it serve requests until it is stopped"
# `fico` that is killed when its parent dies, however that happens; what it becomes stays so.
_FOLLOWER = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, int(signal.SIGKILL)); "  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv.pop(1)) or sys.exit(1); "
    "from fico.cli import main; sys.exit(main())"
)


class Profiled:
    """The program while it runs. Not for several threads at once."""

    def __init__(self, command: Sequence[str], gpu: str, trace: TraceFile) -> None:
        """Start it. FicoError, with nothing left behind, if the GPU has a session already, or the
        program can't be a tenant."""
        check_startable(TenantSpec(tuple(command), NAME), gpu == EMULATED)
        cupti = None if gpu == EMULATED else find_cupti(command)
        self._trace = trace
        self._process: subprocess.Popen[bytes] | None = None
        self.session = _own_session(gpu)
        try:
            self.arena = self.session.arena()
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program
            follower = [sys.executable, "-P", "-c", _FOLLOWER, str(os.getpid())]
            self._process = subprocess.Popen(
                [*follower, "run", "--gpu", gpu, "--name", NAME, "--", *command],
                env={**os.environ, **trace.environment(cupti)},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us, and who it leaves behind can be found.
                process_group=0,
            )
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """FicoError, with its last words, if the program has ended."""
        assert self._process is not None
        # It is not reaped before close(): until then its group can't be mistaken for another.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        ended = os.waitid(os.P_PID, self._process.pid, options)
        if ended is None:
            return
        words = self.last_words()
        if words.startswith("fico: "):
            raise FicoError(words.removeprefix("fico: "))
        how = "exit code" if ended.si_code == os.CLD_EXITED else "signal"
        raise FicoError(
            f"the program ended ({how} {ended.si_status}) before it was measured: "
            f"{words or 'it printed nothing'}",
            _LIVES_ON,
        )

    def last_words(self) -> str:
        """The last line that it has printed; empty if there is none."""
        log = self._log.fileno()
        begin = max(0, os.fstat(log).st_size - _LAST_WORDS_BYTES)
        # Not read(): the program writes on from the offset that it shares with us.
        words = os.pread(log, _LAST_WORDS_BYTES, begin).decode(errors="replace")
        lines = words.strip().splitlines()
        return lines[-1] if lines else ""

    def await_launches(self, within_s: float) -> None:
        """Wait for its first launch. FicoError if there is none in time, or it can't be traced."""
        deadline = time.monotonic() + within_s
        while not (self._trace.is_ready() and self.calls() > 0):
            self.check()
            if time.monotonic() > deadline:
                raise self._not_started(within_s)
            time.sleep(0.01)

    def _not_started(self, within_s: float) -> FicoError:
        if self.calls() > 0:
            return FicoError(
                f"the program has launched kernels, but nothing in it records them after "
                f"{within_s:g} s",
                "run it without another profiler and without a CUDA_INJECTION64_PATH of its own",
            )
        words = self.last_words()
        return FicoError(
            f"the program has not launched anything on the GPU within {within_s:g} s"
            + (f" (its last line: {words})" if words else ""),
            "check that it uses the GPU, or give it longer with --start-within SECONDS",
        )

    def check_alone(self) -> None:
        """FicoError if several of its processes use the GPU: only one of them is recorded."""
        pids = [pid for pid in self._gpu_processes() if look_up(pid) is not None]
        if len(pids) > 1:
            raise FicoError(
                f"{len(pids)} processes of the program use the GPU "
                f"({', '.join(map(str, sorted(pids)))}), and one is profiled at a time",
                "let it run one worker",
            )

    def _gpu_processes(self) -> list[int]:
        return next((row["processes"] for row in self.arena.tenants() if row["name"] == NAME), [])

    def calls(self) -> int:
        """Launches of kernels and graphs so far."""
        for row in self.arena.tenants():
            if row["name"] == NAME:
                counters = row["counters"]
                return counters["launches"] + counters["graph_launches"]
        self.check()
        return 0

    def await_calls(self, more: int, within_s: float) -> bool:
        """Wait until there have been so many more; False if they do not come in time."""
        goal = self.calls() + more
        deadline = time.monotonic() + within_s
        while self.calls() < goal:
            if time.monotonic() > deadline:
                self.check()
                return False
            time.sleep(_POLL_S)
        return True

    def pace(self, seconds: float) -> float:
        """Calls per second over this time, from the first change of the count to the last."""
        count = self.calls()
        until = time.monotonic() + seconds
        first: tuple[float, int] | None = None
        last = (0.0, 0)
        while (now := time.monotonic()) < until:
            new = self.calls()
            if new != count:
                count = new
                last = (now, count)
                first = first or last
            time.sleep(_POLL_S)
        self.check()
        if first is None or last[1] == first[1]:
            return float("nan")
        return (last[1] - first[1]) / (last[0] - first[0])

    def confine(self, units: int) -> None:
        """Give it so many units."""
        self.arena.update(NAME, quota_units=units)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop its processes and let what they have launched run out."""
        pids = self._gpu_processes()
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(_DRAIN_S)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End the program, whatever it has started, and the session."""
        try:
            if _profiler_of(self.session) == os.getpid():
                end_session(self.session, force=True)
        finally:
            if self._process is not None:
                _end_group(self._process)
                self._log.close()


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def _own_session(gpu: str) -> Session:
    """A new session. FicoError if there is one that is not what a killed profiler has left."""
    left = known_session(gpu)
    if left is not None:
        profiler = _profiler_of(left)
        if profiler is not None and look_up(profiler) is None:
            end_session(left, force=True)
    with sessions_locked():
        if known_session(gpu) is not None:
            raise FicoError(
                f"GPU {gpu} has a session: a program is profiled alone",
                "end the session with 'fico down' first",
            )
        session, _, _ = ensure_session(gpu, "static")
        try:
            (session.folder / _PROFILER).write_text(str(os.getpid()))
        except BaseException:
            abandon_session(session)
            raise
    return session


def _profiler_of(session: Session) -> int | None:
    """The process that the session was made by to profile in it; None: it is another session."""
    try:
        return int((session.folder / _PROFILER).read_text())
    except (OSError, ValueError):
        return None
