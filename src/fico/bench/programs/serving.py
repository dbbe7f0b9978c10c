"""What the servers have in common: orders in, times out, a line of JSON each.

    server    "ready"
    runner    {"model": NAME, "core": N or null}
    server    "warm"                                     it has served a few requests of the model
    runner    {"begin_ns", "window_ns", "until_ns", "arrivals_ns", "delay_ns", "goes_on"}
    server    {"arrival_ns": [...], "end_ns": [...]}     of the requests that ended, in their order
    ...

Times are of the monotonic clock, which all servers share, counted from `begin_ns`. With
`arrivals_ns` requests come then and are served first come first served, none after `until_ns`.
Without (null) it is a closed loop, from `delay_ns` to the window's end; one that `goes_on` does so
until there is a further line, which it takes. A line, or the input's end, stops whatever is served.
"""

from __future__ import annotations

import gc
import json
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Any

Request = Callable[[], None]
"""Serves a request, and returns when the GPU has ended it."""
Say = Callable[[str], None]

_WARM_UP = 3


class Orders:
    """Lines of a pipe. It can be asked whether one has come."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._text = b""

    def next(self) -> Any:
        """The next line's JSON; None when the pipe has ended."""
        while b"\n" not in self._text:
            piece = os.read(self._descriptor, 1 << 20)
            if not piece:
                return None
            self._text += piece
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    def came(self) -> bool:
        """Whether there is a line, or the end."""
        return bool(self._text) or bool(self._poll.poll(0))


def serve_orders(requests: Mapping[str, Request], orders: Orders, say: Say) -> None:
    """Answer orders until they end. The caller's thread launches, and is bound to the core."""
    cores = os.sched_getaffinity(0)
    gc.collect()
    gc.freeze()
    say(json.dumps("ready"))
    while (which := orders.next()) is not None:
        request, core = requests[which["model"]], which["core"]
        # Threads that libraries start with the first requests inherit the cores: all of them.
        os.sched_setaffinity(0, cores)
        for _ in range(_WARM_UP):
            request()
        if core is not None:
            os.sched_setaffinity(0, {core})
        say(json.dumps("warm"))
        order = orders.next()
        if order is None:
            return
        gc.disable()
        if order["arrivals_ns"] is None:
            arrival_ns, end_ns = _serve_closed(request, order, orders)
        else:
            arrival_ns, end_ns = _serve_arrivals(request, order, orders, spin=core is not None)
        gc.enable()
        say(json.dumps({"arrival_ns": arrival_ns, "end_ns": end_ns}))


def _serve_closed(
    request: Request, order: Mapping[str, Any], orders: Orders
) -> tuple[list[int], list[int]]:
    begin_ns, goes_on = order["begin_ns"], order["goes_on"]
    last_ns = order["until_ns"] if goes_on else order["window_ns"]
    arrival_ns, end_ns = [], []
    _await(begin_ns + order["delay_ns"], spin=False)
    while not orders.came() and (now_ns := time.monotonic_ns() - begin_ns) < last_ns:
        request()
        arrival_ns.append(now_ns)
        end_ns.append(time.monotonic_ns() - begin_ns)
    if goes_on:
        orders.next()
    return arrival_ns, end_ns


def _serve_arrivals(
    request: Request, order: Mapping[str, Any], orders: Orders, spin: bool
) -> tuple[list[int], list[int]]:
    begin_ns, until_ns = order["begin_ns"], order["until_ns"]
    arrival_ns, end_ns = [], []
    for at_ns in order["arrivals_ns"]:
        if orders.came() or time.monotonic_ns() - begin_ns >= until_ns:
            break
        _await(begin_ns + at_ns, spin)
        request()
        arrival_ns.append(at_ns)
        end_ns.append(time.monotonic_ns() - begin_ns)
    return arrival_ns, end_ns


def _await(time_ns: int, spin: bool) -> None:
    """Return at this time. Spinning is for a core of one's own: it wakes up no later than that."""
    while (left_ns := time_ns - time.monotonic_ns()) > 0:
        if not spin:
            time.sleep(left_ns / 1e9)
