"""Serves torchvision models on a GPU, as `fico.bench.programs.serving` says.

    torch_server.py NAME-bsBATCH-graph|eager...

All models are warm, with random weights; each has the input of its batch on the GPU.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import torch
import torchvision
from torch import nn

from fico.bench.programs.serving import Orders, Request, Say, serve_orders

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


def request_of(model: nn.Module, batch: int, mode: str) -> Request:
    """A request of a batch, kernel by kernel or as a CUDA graph."""
    given = torch.randn(batch, *_IMAGE, device="cuda")
    issue: Callable[[], object] = functools.partial(model, given)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            issue()
    torch.cuda.current_stream().wait_stream(side)
    kept: list[object] = [model, given]
    if mode == "graph":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept.append(issue())
        issue = graph.replay
    ended = torch.cuda.Event()

    def request() -> None:
        # What the graph works on has to live as long as the request.
        assert kept
        issue()
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
            if name not in models:
                models[name] = build(name)
            requests[word] = request_of(models[name], int(batch.removeprefix("bs")), mode)
        torch.cuda.synchronize()
        serve_orders(requests, orders, say)


if __name__ == "__main__":
    serve(sys.argv[1:], Orders(0), functools.partial(print, flush=True))
