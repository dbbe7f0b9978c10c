"""Carries a tenant's output to where it is seen, line by line and with the tenant's name before it.

A process of its own, so that the end of whoever started the tenant is not the end of the tenant: it
reads until the tenant has closed its output, whether or not anybody still listens.
"""

import fcntl
import os
import select
import signal
from collections.abc import Mapping

_READ_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 16
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


def new_lock() -> int:
    """A descriptor by which pumps with the same target write one after the other."""
    return os.memfd_create("fico-pump")


def fork_pump(prefix: bytes, streams: Mapping[int, int], lock: int) -> int:
    """Start a pump from each descriptor (the read end of a pipe) to another; gives its process id.

    The caller closes its own copies of the read ends.
    """
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid != 0:
            return pid
        code = 1
        try:
            _detach({*streams, *streams.values(), lock})
            _pump(prefix, streams, lock)
            code = 0
        finally:
            os._exit(code)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _detach(kept: set[int]) -> None:
    os.setsid()  # no signal of the terminal, and no stop when writing to it
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    close_others({0, 1, 2, *kept})


def close_others(kept: set[int]) -> None:
    """Close every descriptor of this process but these."""
    begin = 0
    for descriptor in sorted(kept):
        if begin < descriptor:  # an empty range at 0 would be all of them
            os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def _pump(prefix: bytes, streams: Mapping[int, int], lock: int) -> None:
    pending = dict.fromkeys(streams, b"")
    poll = select.poll()
    for source in streams:
        poll.register(source, select.POLLIN)
    while pending:
        for source, _ in poll.poll():
            chunk = os.read(source, _READ_BYTES)
            lines = (pending[source] + chunk).split(b"\n")
            rest = lines.pop()
            if rest and (not chunk or len(rest) > _LONGEST_LINE_BYTES):
                lines.append(rest)
                rest = b""
            if lines:
                text = b"".join(prefix + line + b"\n" for line in lines)
                fcntl.lockf(lock, fcntl.LOCK_EX)
                _write(streams[source], text)
                fcntl.lockf(lock, fcntl.LOCK_UN)
            pending[source] = rest
            if not chunk:
                poll.unregister(source)
                del pending[source]


def _write(target: int, text: bytes) -> None:
    """All of it; nothing where nobody listens any more."""
    try:
        while text:
            text = text[os.write(target, text) :]
    except OSError:
        pass
