"""What the server of real models keeps, and in which order it serves; without PyTorch."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

Module = Any


class Tensor:
    """Memory of the GPU."""


class Graph:
    """A CUDA graph: what was issued while it was captured is issued again by replay()."""

    def __init__(self) -> None:
        self.issued: list[str] = []

    def replay(self) -> None:
        LOG.extend(f"replayed {what}" for what in self.issued)


class Event:
    def record(self) -> None:
        LOG.append("recorded")

    def synchronize(self) -> None:
        LOG.append("ended")


class Stream:
    def wait_stream(self, other: Stream) -> None:
        pass


LOG: list[str] = []
CAPTURING: list[Graph] = []


class Capture:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __enter__(self) -> None:
        CAPTURING.append(self._graph)

    def __exit__(self, *_: object) -> None:
        CAPTURING.pop()


def issue(what: str) -> None:
    """A model's kernels are launched."""
    if CAPTURING:
        CAPTURING[-1].issued.append(what)
    else:
        LOG.append(what)


def fake_torch() -> dict[str, ModuleType]:
    """As much of PyTorch as the server uses to issue requests."""
    torch, torchvision, cuda = (ModuleType(name) for name in ("torch", "torchvision", "torch.cuda"))
    on: Callable[[object], AbstractContextManager[None]] = lambda _: nullcontext()  # noqa: E731
    values: dict[str, object] = {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": on,
        "CUDAGraph": Graph,
        "graph": Capture,
        "Event": Event,
    }
    for name, value in values.items():
        setattr(cuda, name, value)
    nn = ModuleType("torch.nn")
    nn.Module = nn.BatchNorm2d = type("Module", (), {})  # type: ignore[attr-defined]
    more: dict[str, object] = {
        "cuda": cuda,
        "nn": nn,
        "randn": lambda *_, **__: Tensor(),
        "manual_seed": lambda _: None,
    }
    for name, value in more.items():
        setattr(torch, name, value)
    return {"torch": torch, "torch.cuda": cuda, "torch.nn": nn, "torchvision": torchvision}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    name = "fico.bench.programs.torch_server"
    for module, fake in fake_torch().items():
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.delitem(sys.modules, name, raising=False)
    LOG.clear()
    yield import_module(name)
    sys.modules.pop(name, None)


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_the_input_lives_as_long_as_the_request(server: Module, mode: str) -> None:
    """A graph reads it again and again, and PyTorch does not keep it."""
    given: list[weakref.ref[Tensor]] = []

    def model(tensor: Tensor) -> Tensor:
        given.append(weakref.ref(tensor))
        issue("model")
        return Tensor()

    request = server.request_of(server.kinds_of("vgg16", 8, {"vgg16": model}), mode)
    gc.collect()
    assert {reference() for reference in given} == {given[0]()}
    assert given[0]() is not None
    LOG.clear()
    request()
    assert ["replayed model" if mode == "graph" else "model", "recorded", "ended"] == LOG
    del request
    gc.collect()
    assert given[0]() is None


def test_a_graph_keeps_its_result(server: Module) -> None:
    results: list[weakref.ref[Tensor]] = []

    def model(_: Tensor) -> Tensor:
        result = Tensor()
        results.append(weakref.ref(result))
        return result

    request = server.request_of(server.kinds_of("vgg16", 8, {"vgg16": model}), "graph")
    gc.collect()
    assert results[-1]() is not None
    assert request is not None


def test_a_decoder_writes_its_tokens_after_each_prefill(
    server: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = ModuleType("decoder")
    decoder.STEPS = 3  # type: ignore[attr-defined]
    decoder.decoder = lambda batch: (  # type: ignore[attr-defined]
        lambda: issue(f"prefill {batch}"),
        lambda: issue("step"),
    )
    monkeypatch.setitem(sys.modules, "fico.bench.programs.decoder", decoder)
    request = server.request_of(server.kinds_of("decoder", 1, {}), "graph")
    # Warm-up of each kind once, on its own.
    assert [*["prefill 1"] * 3, *["step"] * 3] == LOG
    LOG.clear()
    for _ in range(8):
        request()
    turns = [line.removeprefix("replayed ") for line in LOG if line.startswith("replayed")]
    assert turns == ["prefill 1", "step", "step", "step"] * 2
