"""A small inference program for the emulated GPU, as the demo runs it: nothing in it knows Fico.

    python demo_client.py LAYERS BLOCKS STREAMS

A request is a row of LAYERS kernels of BLOCKS blocks on each of STREAMS streams. The program says
`ready`, and for each line with a number of seconds that it reads, it makes requests for that long,
one after the other, and prints their latencies in seconds as a JSON list.
"""

import ctypes
import itertools
import json
import sys
import time
from typing import Any

# A module of the emulated GPU is text (docs/emulator.md): each block holds an SM for 5 µs.
_MODULE = b"fico-emulated-module\nkernel layer op=spin blocks_per_sm=1 us_per_block=5\n"
_NON_BLOCKING = 1


class Model:
    """One model on the GPU, through the driver API."""

    def __init__(self, layers: int, blocks: int, streams: int) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._layers, self._blocks = layers, blocks
        device, context, module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._kernel = ctypes.c_void_p()
        self._streams = [ctypes.c_void_p() for _ in range(streams)]
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(_MODULE))
        self._call("cuModuleGetFunction", ctypes.byref(self._kernel), module, b"layer")
        for stream in self._streams:
            self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(_NON_BLOCKING))

    def request(self) -> None:
        """One request, from its first launch to its result."""
        shape = [ctypes.c_uint(n) for n in (self._blocks, 1, 1, 32, 1, 1, 0)]
        for _ in range(self._layers):
            for stream in self._streams:
                self._call("cuLaunchKernel", self._kernel, *shape, stream, None, None)
        for stream in self._streams:
            self._call("cuStreamSynchronize", stream)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name} failed with {code}")


def latencies(model: Model, seconds: float) -> list[float]:
    """Make requests one after the other for some time; gives the seconds that each took."""
    times = [time.perf_counter()]
    while times[-1] - times[0] < seconds:
        model.request()
        times.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(times)]


if __name__ == "__main__":
    running = Model(*map(int, sys.argv[1:4]))
    running.request()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(latencies(running, float(line))), flush=True)
