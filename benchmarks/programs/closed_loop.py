"""One model that serves one request after another until it is stopped.

    closed_loop.py MODEL BATCH graph|eager     a torchvision model
    closed_loop.py decoder BATCH graph|eager   a decoder-only transformer: a prefill of 512 tokens,
                                               then 32 steps that write one token each

An ordinary program for the profiler. Once a second it prints the median latency of each kind of
request.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision

import models
from fico.bench.programs.decoder import STEPS, decoder

Request = Callable[[], object]


def warmed(request: Request) -> Request:
    """The request, after three calls on a stream of their own, as captures need it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            request()
    torch.cuda.current_stream().wait_stream(stream)
    return request


def recorded(request: Request) -> Request:
    """The request as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = request()
    # What the graph works on lives as long as the graph.
    return lambda: (graph.replay(), result, request)


def vision(name: str, batch: int, seed: int) -> dict[str, Request]:
    """The requests of a torchvision model."""
    if name in models.NAMES or name == "resnet50":
        model = models.build(name, seed)
    else:
        torch.manual_seed(seed)
        model = torchvision.models.get_model(name, weights=None).eval().cuda()
    given = models.images(1, batch, seed)[0].cuda()
    return {"request": lambda: model(given)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("batch", type=int)
    parser.add_argument("mode", choices=("graph", "eager"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    with torch.inference_mode():
        if options.model == "decoder":
            torch.manual_seed(options.seed)
            prefill, step = decoder(options.batch)
            requests = {"prefill": prefill, "step": step}
            turns = ["prefill", *["step"] * STEPS]
        else:
            requests = vision(options.model, options.batch, options.seed)
            turns = ["request"]
        requests = {name: warmed(request) for name, request in requests.items()}
        if options.mode == "graph":
            requests = {name: recorded(request) for name, request in requests.items()}
        torch.cuda.synchronize()
        until = time.perf_counter() + options.seconds
        while time.perf_counter() < until:
            second = time.perf_counter() + 1
            times_ms: dict[str, list[float]] = {name: [] for name in requests}
            while time.perf_counter() < second:
                for turn in turns:
                    begun = time.perf_counter()
                    requests[turn]()
                    torch.cuda.synchronize()
                    times_ms[turn].append(1e3 * (time.perf_counter() - begun))
            print(
                ", ".join(
                    f"{name}: {len(times)} times, median {statistics.median(times):.3f} ms"
                    for name, times in times_ms.items()
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
