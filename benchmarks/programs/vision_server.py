"""All models, warm, for timing: vision_server.py [--core N], with one JSON line per turn.

Says `ready`, then answers each line `MODEL BATCH eager|graph SECONDS` of its input with the times
of the requests that it served one after another for so long. The thread that launches stays on one
core, so that its times don't depend on where the system puts it.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import models

BATCHES = (1, 8)
WARM_UP = 2
LEAST_REQUESTS = 5


def recorded(model: nn.Module, given: torch.Tensor) -> Callable[[], object]:
    """The model as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = model(given)
    # What the graph reads and writes lives as long as this function.
    return lambda: (graph.replay(), given, result)


def loaded(names: list[str], seed: int) -> dict[tuple[str, int, str], Callable[[], object]]:
    """A function per model, batch and mode that issues one request."""
    requests: dict[tuple[str, int, str], Callable[[], object]] = {}
    for name in names:
        model = models.build(name, seed)
        for batch in BATCHES:
            given = models.images(1, batch, seed)[0].cuda()
            warm_up = torch.cuda.Stream()
            warm_up.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(warm_up):
                for _ in range(3):
                    model(given)
            torch.cuda.current_stream().wait_stream(warm_up)
            requests[name, batch, "eager"] = functools.partial(model, given)
            requests[name, batch, "graph"] = recorded(model, given)
    torch.cuda.synchronize()
    return requests


def serve(request: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each request."""
    for _ in range(WARM_UP):
        request()
        torch.cuda.synchronize()
    times_ms: list[float] = []
    until = time.perf_counter() + seconds
    while (before := time.perf_counter()) < until or len(times_ms) < LEAST_REQUESTS:
        request()
        torch.cuda.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - before))
    return times_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", type=int)
    parser.add_argument("--models", default=",".join(models.NAMES))
    options = parser.parse_args()
    with torch.inference_mode():
        requests = loaded(options.models.split(","), options.seed)
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        for line in sys.stdin:
            name, batch, mode, seconds = line.split()
            times_ms = serve(requests[name, int(batch), mode], float(seconds))
            answer = {"median_ms": statistics.median(times_ms), "requests": len(times_ms)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
