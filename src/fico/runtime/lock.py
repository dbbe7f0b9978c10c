"""One user's sessions start and stop one at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fico.runtime.paths import runtime_dir


@contextmanager
def sessions_locked() -> Iterator[None]:
    """Hold the lock over all sessions of the user.

    The kernel gives it back when its holder dies, so the file stays and is never in the way.
    """
    descriptor = os.open(runtime_dir() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
