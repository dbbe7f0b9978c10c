"""What processes decided and when, as the preloaded library recorded it (`fico run --timeline`).

A file a process, which may still be writing; native/seat/timeline_file.hpp says what is in it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fico import _native
from fico.runtime.errors import FicoError, UsageError

ENDING = ".timeline"

_LAYOUT = _native.timeline_layout()
EVENTS = _LAYOUT["events"]
"""Number of each kind of record."""
FLAGS = _LAYOUT["flags"]
"""Bit of each flag."""


def _dtype(fields: list[tuple[str, str, int]], size: int) -> np.dtype[Any]:
    names, formats, offsets = (list(column) for column in zip(*fields, strict=True))
    # Its stubs know no dictionaries.
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    made: np.dtype[Any] = np.dtype(layout)
    return made


HEADER = _dtype(_LAYOUT["header"], _LAYOUT["header_bytes"])
RECORD = _dtype(_LAYOUT["record"], _LAYOUT["record_bytes"])


@dataclass(frozen=True, slots=True)
class Recording:
    """What one process has recorded."""

    path: Path
    tenant: str
    pid: int
    unit_count: int
    clock_scale: float
    """Real time over the device's."""
    records: NDArray[np.void]
    """Of type RECORD, in the order in which they were written; CLOCK_MONOTONIC, in ns."""
    lost: int
    """Older ones that there was no room for."""


def load(path: Path) -> Recording | None:
    """Read a file; None if its process ended while it made it. FicoError if it is damaged."""
    damaged = FicoError(f"{path} is damaged, or no timeline", "delete it, or move it elsewhere")
    try:
        with path.open("rb") as file:
            start = file.read(HEADER.itemsize)
            if not any(start):
                return None
            if len(start) < HEADER.itemsize:
                raise damaged
            header = np.frombuffer(start, HEADER)[0]
            if not header["magic"]:  # which is written last
                return None
            if header["magic"] != _LAYOUT["magic"]:
                raise damaged
            if header["version"] != _LAYOUT["version"]:
                raise FicoError(
                    f"{path} is a timeline of version {header['version']}, this fico reads "
                    f"version {_LAYOUT['version']}",
                    "record it again",
                )
            capacity, written = int(header["capacity"]), int(header["written"])
            ring = np.fromfile(file, RECORD, min(capacity, written))
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            now = int(np.fromfile(file, HEADER, 1)[0]["written"])
    except OSError as error:
        raise FicoError(f"{path} cannot be read: {error.strerror}") from None
    scale = float(header["clock_scale"])
    whole = HEADER.itemsize + capacity * RECORD.itemsize
    if size != whole or capacity < 2 or now < written or not 0 < scale < math.inf:
        raise damaged
    # Meanwhile the process may have gone on: what came is left out, and so is what it overwrote,
    # with the oldest, which may be half of the next.
    oldest = now - capacity + 1 if now >= capacity else 0
    numbers = np.arange(oldest, max(oldest, written))
    return Recording(
        path=path,
        tenant=header["tenant"].decode(errors="replace"),
        pid=int(header["pid"]),
        unit_count=int(header["unit_count"]),
        clock_scale=scale,
        records=ring[numbers % capacity],
        lost=oldest,
    )


def load_folder(folder: Path) -> list[Recording]:
    """All of a folder, by tenant and process. UsageError if there is none; FicoError as in load."""
    paths = sorted(folder.glob(f"*{ENDING}"))
    if not paths:
        raise UsageError(
            f"{folder} holds no timelines", "give the folder of 'fico run --timeline DIR'"
        )
    found = [recording for path in paths if (recording := load(path)) is not None]
    return sorted(found, key=lambda one: (one.tenant, one.pid, one.path))
