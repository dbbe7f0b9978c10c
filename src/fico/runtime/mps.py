"""The MPS control daemon of one session: started, asked and stopped through NVIDIA's own program.

MPS lets the tenants' kernels run at the same time; each session has a daemon of its own, so that
ending it disturbs nobody else.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from fico.runtime.errors import FicoError
from fico.runtime.processes import Process, all_processes, look_up

CONTROL = "nvidia-cuda-mps-control"
SERVER = "nvidia-cuda-mps-server"
_COMMAND = "nvidia-cuda-mps"  # both programs' names, as the kernel cuts them
_READY_WITHIN_S = 15.0
_ANSWER_WITHIN_S = 15.0
_STOP_WITHIN_S = 10.0
_LONGEST_SOCKET_PATH = 107
_LONGEST_SOCKET_NAME = len("/control_privileged")


def mps_processes() -> list[Process]:
    """Every control daemon and server on this machine, of whatever user."""
    return [process for process in all_processes() if process.command == _COMMAND]


def other_users_mps() -> Process | None:
    """An MPS process of another user; while it has clients, ours have to wait for ever."""
    return next((process for process in mps_processes() if process.user != os.getuid()), None)


@dataclass(frozen=True)
class Mps:
    """The daemon whose sockets and logs are in a session's folder."""

    folder: Path

    @property
    def pipe_dir(self) -> Path:
        """Folder of its sockets: $CUDA_MPS_PIPE_DIRECTORY of its clients."""
        return self.folder / "mps"

    @property
    def log_dir(self) -> Path:
        """Folder of its logs: $CUDA_MPS_LOG_DIRECTORY."""
        return self.folder / "log"

    def environment(self) -> dict[str, str]:
        """What a client or the control program must have set."""
        return {
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe_dir),
            "CUDA_MPS_LOG_DIRECTORY": str(self.log_dir),
        }

    def pid(self) -> int | None:
        """The running daemon, or None."""
        try:
            pid = int((self.pipe_dir / f"{CONTROL}.pid").read_text())
        except (OSError, ValueError):
            return self._search()
        process = look_up(pid)
        ours = process and process.command == _COMMAND and process.user == os.getuid()
        return pid if ours else None

    def _search(self) -> int | None:
        """The daemon by what it was started with, for when its file was cleaned away."""
        setting = f"CUDA_MPS_PIPE_DIRECTORY={self.pipe_dir}".encode()
        for process in mps_processes():
            folder = Path(f"/proc/{process.pid}")
            with contextlib.suppress(OSError):
                started_so = setting in (folder / "environ").read_bytes().split(b"\0")
                if started_so and CONTROL.encode() in (folder / "cmdline").read_bytes():
                    return process.pid
        return None

    def start(self, gpu_uuid: str) -> None:
        """Start the daemon and wait until it answers; FicoError, with nothing left, if not."""
        self._refuse()
        self.stop()
        for folder in (self.pipe_dir, self.log_dir):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        environment = {**os.environ, **self.environment(), "CUDA_VISIBLE_DEVICES": gpu_uuid}
        environment.pop("LD_PRELOAD", None)
        environment.pop("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", None)
        try:
            # The daemon keeps what it inherits: a file, since it would keep a pipe open for ever.
            with (self.log_dir / "start").open("wb") as output:
                code = subprocess.run(
                    [CONTROL, "-d"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=_READY_WITHIN_S,
                    check=False,
                ).returncode
            self._wait_until_ready(code)
        except subprocess.TimeoutExpired:
            self.stop()
            raise self._failure(f"did not start in {_READY_WITHIN_S:g} s") from None
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, code: int) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while code == 0 and time.monotonic() < deadline:
            if self.ask("get_server_list") is not None:
                return
            time.sleep(0.02)
        raise self._failure(f"exit code {code}" if code else "its control socket gives no answer")

    def _refuse(self) -> None:
        if shutil.which(CONTROL) is None:
            raise FicoError(
                f"MPS is not installed: there is no {CONTROL} in PATH",
                "install the driver's compute utilities (nvidia-compute-utils)",
            )
        other = other_users_mps()
        if other is not None:
            raise FicoError(
                f"MPS of user {other.user} is running (process {other.pid}), and a GPU serves "
                "the MPS of one user at a time",
                "have that user end it (echo quit | nvidia-cuda-mps-control), then try again",
            )
        longest = len(os.fsencode(self.pipe_dir)) + _LONGEST_SOCKET_NAME
        if longest > _LONGEST_SOCKET_PATH:
            raise FicoError(
                f"the path {self.pipe_dir} is {longest - _LONGEST_SOCKET_PATH} bytes too long "
                "for the sockets of MPS",
                "set FICO_RUNTIME_DIR to a shorter one",
            )

    def _failure(self, reason: str) -> FicoError:
        logged: list[str] = []
        for name in ("start", "control.log"):
            try:
                logged += (self.log_dir / name).read_text(errors="replace").split("\n")
            except OSError:
                continue
        last = next((line for line in reversed(logged) if line.strip()), "")
        said = f" ({last.strip()})" if last else ""
        return FicoError(f"MPS did not start: {reason}{said}", "see 'fico doctor'")

    def ask(self, question: str) -> str | None:
        """Give the daemon one line and return what it says; None if it doesn't answer."""
        try:
            done = subprocess.run(
                [CONTROL],
                env={**os.environ, **self.environment(), "LD_PRELOAD": ""},
                input=question.encode() + b"\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_ANSWER_WITHIN_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    def servers(self) -> list[int]:
        """Process ids of its servers: none before the first client, one for the GPU after it."""
        return _pids(self.ask("get_server_list"))

    def terminate_clients(self, pids: set[int]) -> None:
        """End the clients' GPU work, so that killing them can't bring the server down."""
        for server in self.servers():
            for client in _pids(self.ask(f"get_client_list {server}")):
                if client in pids:
                    self.ask(f"terminate_client {server} {client}")

    def stop(self) -> None:
        """End the daemon and its servers; nothing happens if there is none."""
        pid = self.pid()
        if pid is None:
            return
        servers = self.servers()
        self.ask("quit")
        if _gone(pid, _STOP_WITHIN_S):
            return
        for straggler in (pid, *servers):
            process = look_up(straggler)
            if process and process.command == _COMMAND and process.user == os.getuid():
                os.kill(straggler, signal.SIGKILL)
        _gone(pid, _STOP_WITHIN_S)


def _pids(answer: str | None) -> list[int]:
    return [int(word) for word in (answer or "").split() if word.isdecimal()]


def _gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while look_up(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
