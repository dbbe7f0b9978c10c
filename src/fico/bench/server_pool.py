"""The servers of a suite: started when they are first needed, then kept for all cells.

There are three kinds. Tenants of a session of Fico's; clients of the session's MPS beside it, with
an active thread percentage that they keep for good; and plain programs without MPS. One that was
just started is not ready yet, so that several get ready at the same time.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fico.bench.server_process import ServerProcess, close_all
from fico.runtime.gpus import driver_environment
from fico.runtime.session import Session

_READY_WITHIN_S = 300.0
_ENDS_WITHIN_S = 15.0
_FIRST_GUESS_S = 30.0


class ServerPool:
    """Servers that all hold the same models."""

    def __init__(
        self,
        session: Session,
        command: Sequence[str],
        more: Mapping[str, str],
        options: Sequence[str],
    ) -> None:
        """`more` goes into their environment; `options` are those of `fico run` for tenants."""
        self._session = session
        self._command = tuple(command)
        self._options = tuple(options)
        self._environment = {**_clean_environment(), **more}
        self._tenants: list[ServerProcess] = []
        self._capped: dict[int, list[ServerProcess]] = {}
        self._plain: list[ServerProcess] = []
        self._starting: list[ServerProcess] = []
        self._start_begun = 0.0
        self.start_s = _FIRST_GUESS_S
        """How long the last start has taken."""

    def has_tenants(self, count: int) -> bool:
        """Whether so many were started."""
        return len(self._tenants) >= count

    def has_capped(self, percentages: Sequence[int]) -> bool:
        """Whether clients of MPS with these active thread percentages were started."""
        counts = Counter(percentages)
        return all(len(self._capped.get(key, ())) >= count for key, count in counts.items())

    def has_plain(self, count: int) -> bool:
        """Whether so many were started."""
        return len(self._plain) >= count

    def tenants(self, count: int, exactly: bool) -> list[ServerProcess]:
        """So many tenants of the session; `exactly`: and no others, which would have units too."""
        for server in self._tenants:
            server.check()
        while exactly and len(self._tenants) > count:
            self._tenants.pop().close(_ENDS_WITHIN_S)
        gpu = self._session.key
        fico = [sys.executable, "-P", "-m", "fico.cli", "run", "--gpu", gpu, "--name"]
        for name in [tenant_name(number) for number in range(len(self._tenants), count)]:
            command = [*fico, name, *self._options, "--", *self._command]
            self._start(self._tenants, ServerProcess(name, command, self._environment))
        return self._tenants[:count]

    def capped(self, percentages: Sequence[int]) -> list[ServerProcess]:
        """Clients of MPS with these active thread percentages, in order."""
        mps = self._session.mps
        assert mps is not None
        for percent, count in Counter(percentages).items():
            known = self._capped.setdefault(percent, [])
            environment = {
                **self._on_gpu(),
                **mps.environment(),
                "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent),
            }
            while len(known) < count:
                name = f"mps-{percent}-{len(known) + 1}"
                self._start(known, ServerProcess(name, self._command, environment))
        left = {percent: iter(servers) for percent, servers in self._capped.items()}
        return [next(left[percent]) for percent in percentages]

    def plain(self, count: int, nowhere: Path) -> list[ServerProcess]:
        """So many without MPS: `nowhere` is an empty folder, in which they find no daemon."""
        environment = {**self._on_gpu(), "CUDA_MPS_PIPE_DIRECTORY": str(nowhere)}
        while len(self._plain) < count:
            name = f"plain-{len(self._plain) + 1}"
            self._start(self._plain, ServerProcess(name, self._command, environment))
        return self._plain[:count]

    def await_ready(self) -> None:
        """Wait until all that were started are ready. FicoError if one of them ends."""
        if not self._starting:
            return
        for server in self._starting:
            server.hear(_READY_WITHIN_S)
        self._starting.clear()
        self.start_s = time.monotonic() - self._start_begun

    def _on_gpu(self) -> dict[str, str]:
        gpu = self._session.gpu
        environment = driver_environment(gpu.emulated, self._environment)
        return environment | {"CUDA_VISIBLE_DEVICES": gpu.uuid}

    def _start(self, known: list[ServerProcess], server: ServerProcess) -> None:
        if not self._starting:
            self._start_begun = time.monotonic()
        self._starting.append(server)
        known.append(server)

    def close(self) -> None:
        """End all."""
        capped = [server for servers in self._capped.values() for server in servers]
        close_all([*self._tenants, *capped, *self._plain], _ENDS_WITHIN_S)


def tenant_name(number: int) -> str:
    """What a tenant is called in the session."""
    return f"bench-{number + 1}"


def _clean_environment() -> dict[str, str]:
    """The caller's, without what would make a program a tenant or a client of MPS."""
    ours = ("FICO_TENANT", "FICO_ARENA", "LD_PRELOAD")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("CUDA_MPS_")
    }
    return kept | {"OMP_NUM_THREADS": "2"}
