"""Processes of this machine, from /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process that ran when it was looked at."""

    pid: int
    command: str
    """The kernel's name of it: at most 15 bytes."""
    user: int
    parent: int


def look_up(pid: int) -> Process | None:
    """One live process; None if there is none (a zombie is none)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
            user = os.fstat(file.fileno()).st_uid
    except OSError:
        return None
    opening, closing = text.index(b"("), text.rindex(b")")
    state, parent = text[closing + 2 :].split()[:2]
    if state in (b"Z", b"X"):
        return None
    command = text[opening + 1 : closing].decode(errors="replace")
    return Process(pid, command, user, int(parent))


def all_processes() -> Iterator[Process]:
    """Every process that this one may see."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (process := look_up(int(entry))) is not None:
            yield process
