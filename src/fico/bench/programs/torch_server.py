"""Serves models on a GPU, as `fico.bench.programs.serving` says.

    torch_server.py NAME-bsBATCH-graph|eager...

NAME is one of torchvision, or `decoder`: a prefill and 32 steps in turn. All models are warm, with
random weights; each has the input of its batch on the GPU.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import nn

from fico.bench.programs.serving import Orders, Request, Say, serve_orders

DECODER = "decoder"
Issue = Callable[[], object]
"""Launches what a request is."""

_SEED = 1
_IMAGE = (3, 224, 224)
_WARM_UP = 3


def build(name: str) -> nn.Module:
    """A model on the GPU with random weights, the same each time.

    Batch norms get the statistics of a pass over random images: with their first ones the
    activations would grow from layer to layer, up to infinity.
    """
    torch.manual_seed(_SEED)
    with torch.device("cuda"):
        model: nn.Module = torchvision.models.get_model(name, weights=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        model.train()
        model(torch.randn(8, *_IMAGE, device="cuda"))
    return model.eval()


def kinds_of(name: str, batch: int, models: dict[str, nn.Module]) -> list[Issue]:
    """What a model serves, in turn. `models`: those that were built already."""
    if name == DECODER:
        # Only here: it takes seconds.
        from fico.bench.programs.decoder import STEPS, decoder

        torch.manual_seed(_SEED)
        prefill, step = decoder(batch)
        return [prefill, *[step] * STEPS]
    if name not in models:
        models[name] = build(name)
    return [functools.partial(models[name], torch.randn(batch, *_IMAGE, device="cuda"))]


def warmed(issue: Issue) -> Issue:
    """After a few calls on a stream of their own, as captures need it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            issue()
    torch.cuda.current_stream().wait_stream(side)
    return issue


def recorded(issue: Issue) -> Issue:
    """As a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = issue()
    # What the graph reads and writes lives as long as it does: PyTorch gives memory that nobody
    # has any more back to the driver, at the next capture at the latest.
    return lambda: (graph.replay(), issue, result)


def request_of(kinds: Sequence[Issue], mode: str) -> Request:
    """A request, kernel by kernel or as a CUDA graph; each call is one of the next kind."""
    issues = {issue: warmed(issue) for issue in dict.fromkeys(kinds)}
    if mode == "graph":
        issues = {issue: recorded(issue) for issue in issues}
    turns = itertools.cycle([issues[issue] for issue in kinds])
    ended = torch.cuda.Event()

    def request() -> None:
        next(turns)()
        ended.record()
        ended.synchronize()

    return request


def serve(words: list[str], orders: Orders, say: Say) -> None:
    """Build the models and answer orders until they end."""
    with torch.inference_mode():
        models: dict[str, nn.Module] = {}
        requests: dict[str, Request] = {}
        for word in words:
            name, batch, mode = word.rsplit("-", 2)
            kinds = kinds_of(name, int(batch.removeprefix("bs")), models)
            requests[word] = request_of(kinds, mode)
        torch.cuda.synchronize()
        serve_orders(requests, orders, say)


if __name__ == "__main__":
    serve(sys.argv[1:], Orders(0), functools.partial(print, flush=True))
