"""The trace file that the collector in the profiled program writes; see native/collector/trace.hpp.

One window is recorded at a time: `begin`, some time, `end`, then the window's records.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fico import _native
from fico.profiling.records import RAW
from fico.runtime.errors import FicoError
from fico.runtime.paths import shm_dir
from fico.runtime.processes import look_up

MAGIC = 0x0145_4341_5254_4346
VERSION = 3
RECORDS_OFFSET = 4096
NAMES_BYTES = 1 << 20
CAPACITY = 400_000
_PREFIX = "fico-trace-"
_POLL_S = 0.0005
_ANSWER_WITHIN_S = 20.0

HEADER = np.dtype(
    [
        ("magic", "u8"),
        ("version", "u4"),
        ("record_bytes", "u4"),
        ("capacity", "u8"),
        ("names_capacity", "u8"),
        ("detach", "u4"),
        ("reserved", "u4"),
        ("wanted", "u4"),
        ("recording", "u4"),
        ("owner", "u4"),
        ("failed", "u4"),
        ("count", "u8"),
        ("dropped", "u8"),
        ("names_bytes", "u8"),
        ("message", "S256"),
    ]
)


class TraceFile:
    """Shared memory with the collector of one program. Not for several threads at once."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Make the file; FicoError if there is no room for it."""
        size = RECORDS_OFFSET + capacity * RAW.itemsize + NAMES_BYTES
        _remove_stale()
        handle, self.path = _new_file()
        try:
            os.posix_fallocate(handle, 0, size)
            self._map = mmap.mmap(handle, size)
        except OSError as error:
            self.path.unlink()
            os.close(handle)
            raise FicoError(
                f"there is no room for a trace of {size >> 20} MiB in {shm_dir()}: "
                f"{error.strerror}",
                "free some, or give the container more (docker run --shm-size=1g)",
            ) from None
        self._lock = handle
        self._header: NDArray[np.void] = np.frombuffer(self._map, HEADER, count=1)
        self._records: NDArray[np.void] = np.frombuffer(
            self._map, RAW, count=capacity, offset=RECORDS_OFFSET
        )
        self._names: NDArray[np.uint8] = np.frombuffer(
            self._map, np.uint8, offset=RECORDS_OFFSET + capacity * RAW.itemsize
        )
        self._window = 0
        head = self._header[0]
        head["version"] = VERSION
        head["record_bytes"] = RAW.itemsize
        head["capacity"] = capacity
        head["names_capacity"] = NAMES_BYTES
        head["names_bytes"] = 1  # the empty name
        head["magic"] = MAGIC

    def environment(self, cupti: Path | None) -> dict[str, str]:
        """What makes the driver load the collector into a program."""
        found = {"FICO_CUPTI": str(cupti)} if cupti is not None else {}
        return {
            "CUDA_INJECTION64_PATH": _native.collector_path(),
            "FICO_TRACE": str(self.path),
            **found,
        }

    def is_ready(self) -> bool:
        """Whether a live process has taken the file. FicoError if it can record nothing."""
        if not self.owner or look_up(self.owner) is None:
            return False
        self._check()
        return True

    @property
    def owner(self) -> int:
        """Process that records, 0: none yet."""
        return int(self._header[0]["owner"])

    def begin(self) -> None:
        """Record from now on. FicoError if the collector does not answer."""
        self._window += 1
        self._want(self._window)

    def end(self, *, detach: bool = False) -> tuple[NDArray[np.void], int]:
        """Stop; gives the window's records, of dtype RAW with `name` as an
        offset, and how many were lost for want of room.

        `detach`: CUPTI leaves the process, until the next window. On a GPU only programs without
        graphs have been seen to bear that.
        """
        self._header[0]["detach"] = detach
        self._want(0)
        head = self._header[0]
        return self._records[: int(head["count"])].copy(), int(head["dropped"])

    def name(self, offset: int) -> str:
        """The mangled name that begins there."""
        end = offset
        while self._names[end]:
            end += 1
        return self._names[offset:end].tobytes().decode(errors="replace")

    def close(self) -> None:
        """Take the file away; the program's mapping lives on."""
        self.path.unlink(missing_ok=True)
        os.close(self._lock)

    def _want(self, window: int) -> None:
        head = self._header[0]
        head["wanted"] = window
        _native.wake(self._header.ctypes.data + HEADER.fields["wanted"][1])  # type: ignore[index]
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while int(head["recording"]) != window:
            self._check()
            if look_up(self.owner) is None:
                raise FicoError(
                    f"process {self.owner}, which was recorded, has ended",
                    "profile a program whose processes live until it is stopped",
                )
            if time.monotonic() > deadline:
                raise FicoError(
                    f"the collector in process {self.owner} does not answer",
                    "CUPTI may be in use by another profiler, or the process be stopped",
                )
            time.sleep(_POLL_S)

    def _check(self) -> None:
        head = self._header[0]
        if head["failed"]:
            raise FicoError(bytes(head["message"]).split(b"\0")[0].decode(errors="replace"))


def _new_file() -> tuple[int, Path]:
    """A file that is locked for as long as this process has the descriptor open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=shm_dir())
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Who removes what is stale may have come between.
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)


def _remove_stale() -> None:
    """Take away the files of profilers that were killed: nobody holds their locks."""
    for path in shm_dir().glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:  # another user's, or in use
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
