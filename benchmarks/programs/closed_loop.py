"""One model that serves one request after another until it is stopped.

    closed_loop.py MODEL BATCH graph|eager     a torchvision model
    closed_loop.py decoder BATCH graph|eager   a decoder-only transformer: a prefill of 512 tokens,
                                               then 32 steps that write one token each

An ordinary program for the profiler: it knows nothing of Fico. Once a second it prints the median
latency of each kind of request.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision

import models

PREFILL_TOKENS = 512
STEPS = 32
VOCABULARY = 32_000
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


def decoder(batch: int, seed: int) -> dict[str, Request]:
    """Prefill and step of a transformer with some 0.4 billion random weights."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=1024,
    )
    model = transformers.LlamaForCausalLM(config).eval().to("cuda", torch.bfloat16)
    length = PREFILL_TOKENS + STEPS
    cache = transformers.StaticCache(config=config, max_cache_len=length)
    prompt = torch.randint(1, VOCABULARY, (batch, PREFILL_TOKENS)).cuda()
    token = torch.randint(1, VOCABULARY, (batch, 1)).cuda()
    places = torch.arange(PREFILL_TOKENS, device="cuda")
    place = torch.tensor([PREFILL_TOKENS], device="cuda")

    def run(tokens: torch.Tensor, at: torch.Tensor) -> object:
        return model(
            input_ids=tokens,
            position_ids=at.unsqueeze(0),
            cache_position=at,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits

    def prefill() -> object:
        cache.reset()
        return run(prompt, places)

    return {"prefill": prefill, "step": lambda: run(token, place)}


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
            requests = decoder(options.batch, options.seed)
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
