"""Calls spread over processes that end with this one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from fico.runtime.errors import FicoError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A number of processes; with one, the calls are made in this one."""

    def __init__(self, count: int) -> None:
        self._pool = (
            ProcessPoolExecutor(count, get_context("spawn"), _end_with_parent)
            if count > 1
            else None
        )

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results as they come, in any order.

        An exception of a call, or KeyboardInterrupt here, ends the others: those that have begun
        go on to their end first, the rest is not begun. FicoError if a process was killed.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        with _interrupts_held():  # processes start here, and inherit that
            futures = [self._pool.submit(function, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise FicoError(
                "a worker process was killed, perhaps for want of memory",
                "give fewer --workers; what was done is kept",
            ) from None
        except BaseException:
            self._pool.shutdown(wait=True, cancel_futures=True)
            raise

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, and never reaches processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """In a worker: do not live on when the parent was killed."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
