"""Serves programs on the emulated GPU: emulated_server.py FILE, as `fico.bench.programs.serving`.

FILE is JSON, by the names of the models, as `fico.bench.emulated_program` makes it: a module, the
kernels of each kind of request with their blocks, in which order the kinds come, and whether they
are issued as graphs.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fico.bench.programs.serving import Orders, Request, Say, serve_orders

_NON_BLOCKING = 1
_NO_TIMING = 2
_THREAD_LOCAL = 1
THREADS = 256
"""Of a block."""

Launch = tuple[ctypes.c_void_p, int]


class Gpu:
    """A context of the driver API, and a stream."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._stream, self._event = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(_NON_BLOCKING))
        self._call("cuEventCreate", ctypes.byref(self._event), ctypes.c_uint(_NO_TIMING))

    def request_of(self, program: Mapping[str, Any]) -> Request:
        """A request of a program; each call is one of the next kind."""
        module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), program["module"].encode())
        kinds = []
        for kernels in program["requests"]:
            launches = [(self._function(module, name), blocks) for name, blocks in kernels]
            kinds.append(self._graph(launches) if program["graph"] else launches)
        turns = itertools.cycle(program["turns"])

        def request() -> None:
            kind = kinds[next(turns)]
            if isinstance(kind, list):
                self._launch(kind)
            else:
                self._call("cuGraphLaunch", kind, self._stream)
            self._call("cuEventRecord", self._event, self._stream)
            self._call("cuEventSynchronize", self._event)

        return request

    def _function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        return function

    def _launch(self, launches: list[Launch]) -> None:
        for function, blocks in launches:
            shape = [ctypes.c_uint(n) for n in (blocks, 1, 1, THREADS, 1, 1, 0)]
            self._call("cuLaunchKernel", function, *shape, self._stream, None, None)

    def _graph(self, launches: list[Launch]) -> ctypes.c_void_p:
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        self._launch(launches)
        self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        flags = ctypes.c_ulonglong(0)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags)
        return executable

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name} failed with {code}")


def serve(file: Path, orders: Orders, say: Say) -> None:
    """Load the programs and answer orders until they end."""
    gpu = Gpu()
    programs = json.loads(file.read_text())
    serve_orders({name: gpu.request_of(program) for name, program in programs.items()}, orders, say)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Orders(0), functools.partial(print, flush=True))
