"""The workloads by name: how the requests of a tenant come."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fico.bench import arrivals
from fico.bench.arrivals import Times
from fico.bench.recording import read_recording
from fico.runtime.errors import UsageError

CLOSED = "closed"
TRACE = "trace:"
LOADS = {"sparse": 0.25, "medium": 0.5, "dense": 0.8, "bursty": 0.5}
"""Mean load of the open workloads, of the cell's capacity under MPS."""

WORKLOADS = {
    "closed": "the next request comes when the last has ended",
    "sparse": "Poisson arrivals at 0.25 of the cell's capacity under MPS",
    "medium": "Poisson arrivals at 0.5 of it",
    "dense": "Poisson arrivals at 0.8 of it",
    "bursty": "bursts (on/off, CV² of at least 8) at 0.5 of it on average",
    "trace:FILE[@LOAD]": "arrivals as recorded in FILE, scaled to LOAD (0.5) of it",
}

_HIGHEST_LOAD = 10.0


def check_workload(word: str) -> None:
    """UsageError if there is no such workload, or the recording of a trace cannot be read."""
    if word == CLOSED or word in LOADS:
        return
    if not word.startswith(TRACE):
        raise UsageError(f"there is no workload {word!r}", f"choose from {', '.join(WORKLOADS)}")
    path, _ = _trace(word)
    read_recording(path)


def load_of(word: str) -> float | None:
    """The load that a workload offers, of the capacity; None in closed loop."""
    if word == CLOSED:
        return None
    return LOADS[word] if word in LOADS else _trace(word)[1]


def arrival_times(
    word: str, capacity_rps: float, window_us: float, rng: np.random.Generator
) -> Times:
    """Arrivals of an open workload in [0, window), in microseconds; at least one."""
    load = load_of(word)
    assert load is not None
    rate = load * capacity_rps / 1e6
    if word == "bursty":
        times = arrivals.on_off(rate, window_us, rng)
    elif word in LOADS:
        times = arrivals.poisson(rate, window_us, rng)
    else:
        times = arrivals.replay(read_recording(_trace(word)[0]), rate, window_us, rng)
    return times if len(times) else np.zeros(1)


def _trace(word: str) -> tuple[Path, float]:
    name, at, load_text = word.removeprefix(TRACE).rpartition("@")
    if not at:
        name, load_text = load_text, "0.5"
    if not name:
        raise UsageError(f"workload {word!r} names no file", "write trace:FILE or trace:FILE@0.8")
    try:
        load = float(load_text)
    except ValueError:
        load = 0.0
    if not 0 < load <= _HIGHEST_LOAD:
        raise UsageError(
            f"load {load_text!r} of workload {word!r} is not understood",
            f"write a part of the capacity, above 0 and up to {_HIGHEST_LOAD:g}, as in @0.8",
        )
    return Path(name), load
