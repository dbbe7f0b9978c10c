"""A torchvision model serves a few requests: vision.py MODEL eager|side|graph|compile [OPTION...]

eager: on the default stream; side: on a stream of its own; graph: as a CUDA graph; compile: through
torch.compile. All requests are issued before the first result is looked at, and the results of the
layers in between count too, if they are small (except under torch.compile, which has none).
"""

from __future__ import annotations

import argparse
import functools
from typing import Any

import torch
from torch import nn

import models
from outputs import Outputs

LARGEST_BYTES = 4 << 20  # of what is kept of the layers in between

Results = list[torch.Tensor]


def keep_layers(model: nn.Module, kept: Results) -> None:
    """From now on, append what the outer layers of the model give."""

    def keep(_module: nn.Module, _inputs: Any, result: torch.Tensor) -> None:
        if result.nbytes <= LARGEST_BYTES:
            kept.append(result)

    for name, module in model.named_modules():
        if name and name.count(".") <= 1:
            module.register_forward_hook(keep)


def eager(model: nn.Module, requests: Results) -> Results:
    kept: Results = []
    keep_layers(model, kept)
    for request in requests:
        kept.append(model(request.to("cuda", non_blocking=True)))
    return kept


def side(model: nn.Module, requests: Results) -> Results:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        kept = eager(model, requests)
    torch.cuda.current_stream().wait_stream(stream)
    return kept


def graph(model: nn.Module, requests: Results) -> Results:
    given = torch.empty(requests[0].shape, device="cuda")
    given.copy_(requests[0])
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        for _ in range(3):
            model(given)
    torch.cuda.current_stream().wait_stream(warm_up)
    layers: Results = []
    keep_layers(model, layers)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        result = model(given)
    kept: Results = []
    for request in requests:
        given.copy_(request, non_blocking=True)
        recorded.replay()
        kept += [tensor.clone() for tensor in (*layers, result)]
    return kept


def compiled(model: nn.Module, requests: Results) -> Results:
    fast = torch.compile(model)
    return [fast(request.to("cuda", non_blocking=True)).clone() for request in requests]


WAYS = {"eager": eager, "side": side, "graph": graph, "compile": compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=models.NAMES)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--requests", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    options = parser.parse_args()
    if options.deterministic:
        models.be_deterministic()
    with torch.inference_mode():
        serve = functools.partial(WAYS[options.way], models.build(options.model, options.seed))
        results = serve(models.images(options.requests, options.batch, options.seed))
        torch.cuda.synchronize()
    outputs = Outputs()
    outputs.add(*results)
    outputs.report()


if __name__ == "__main__":
    main()
