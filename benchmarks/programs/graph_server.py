"""Models as CUDA graphs, warm, for measuring several tenants: graph_server.py MODEL:BATCH...

Says `ready`, then answers each JSON line {model, batch, begin_ns, seconds, rate_rps, seed} with the
latencies in ms of the requests that it served from `begin_ns` (monotonic clock) on: one after
another, or, where a rate is given, arriving at random (Poisson) and counted from their arrival.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable

import torch

from closed_loop import recorded, vision, warmed

WARM_UP = 3


def serve(request: Callable[[], object], begin_ns: int, seconds: float) -> list[float]:
    """Latencies in closed loop."""
    until_ns = begin_ns + int(1e9 * seconds)
    latencies_ms = []
    while (begun_ns := time.monotonic_ns()) < until_ns:
        request()
        torch.cuda.synchronize()
        latencies_ms.append((time.monotonic_ns() - begun_ns) / 1e6)
    return latencies_ms


def serve_arrivals(
    request: Callable[[], object], begin_ns: int, seconds: float, rate_rps: float, seed: int
) -> list[float]:
    """Latencies of requests that arrive at random, first come first served."""
    source = random.Random(seed)
    arrival_s = source.expovariate(rate_rps)
    latencies_ms = []
    while arrival_s < seconds:
        arrival_ns = begin_ns + int(1e9 * arrival_s)
        while time.monotonic_ns() < arrival_ns:
            pass
        request()
        torch.cuda.synchronize()
        latencies_ms.append((time.monotonic_ns() - arrival_ns) / 1e6)
        arrival_s += source.expovariate(rate_rps)
    return latencies_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--core", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    requests: dict[tuple[str, int], Callable[[], object]] = {}
    with torch.inference_mode():
        for word in options.models:
            name, batch = word.split(":")
            request = warmed(vision(name, int(batch), options.seed)["request"])
            requests[name, int(batch)] = recorded(request)
        torch.cuda.synchronize()
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            request = requests[order["model"], order["batch"]]
            for _ in range(WARM_UP):
                request()
                torch.cuda.synchronize()
            begin_ns = order["begin_ns"]
            while time.monotonic_ns() < begin_ns:
                pass
            rate_rps = order.get("rate_rps")
            if rate_rps is None:
                latencies_ms = serve(request, begin_ns, order["seconds"])
            else:
                latencies_ms = serve_arrivals(
                    request, begin_ns, order["seconds"], rate_rps, order["seed"]
                )
            print(json.dumps([round(value, 5) for value in latencies_ms]), flush=True)


if __name__ == "__main__":
    main()
