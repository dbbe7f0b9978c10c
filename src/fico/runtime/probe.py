"""What the driver says about a GPU: `python -m fico.runtime.probe [INDEX|UUID]` prints JSON.

A process of its own, because a process that has initialised CUDA keeps the GPU busy, can't change
what it sees, and dies with a driver that misbehaves. Prints one object: `gpus` (index, uuid, name
of each), `gpu` (the one that was asked for, with its units, or null) and `error` (or null).
"""

import ctypes
import json
import sys
import uuid
from pathlib import Path
from typing import Any

# CUdevResource of the driver API: type, 92 bytes of padding, and a union of 48 bytes that begins
# with the number of SMs.
_RESOURCE_BYTES = 144
_RESOURCE_SM_COUNT_AT = 96
_RESOURCE_TYPE_SM = 1

# Units of at least this many SMs are whole co-scheduled groups, so that kernels with clusters run
# on every one of them.
SMS_PER_UNIT_AT_LEAST = 8
_MOST_UNITS = 64


class DriverError(Exception):
    """The driver is absent or a call of it failed."""


class Driver:
    """The few calls of libcuda.so.1 that a probe needs."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DriverError(f"no driver: {error}") from None

    def call(self, name: str, *arguments: Any) -> None:
        """Call an entry; DriverError unless it gives CUDA_SUCCESS or is not there."""
        entry = getattr(self._library, name, None)
        if entry is None:
            raise DriverError(f"the driver has no {name}")
        code = entry(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise DriverError(f"{name}: {(text.value or b'error').decode()} ({code})")

    def version(self) -> str:
        """The driver's release if the system tells it, else the CUDA version it serves."""
        number = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(number))
        cuda = f"CUDA {number.value // 1000}.{number.value % 1000 // 10}"
        return _release() or cuda

    def gpus(self) -> list[dict[str, Any]]:
        """Index, UUID and name of each GPU that the process sees."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        found = []
        for index in range(count.value):
            device = self._device(index)
            raw = (ctypes.c_ubyte * 16)()
            name = ctypes.create_string_buffer(256)
            self.call("cuDeviceGetUuid_v2", ctypes.byref(raw), device)
            self.call("cuDeviceGetName", name, ctypes.c_int(len(name)), device)
            found.append(
                {
                    "index": index,
                    "uuid": f"GPU-{uuid.UUID(bytes=bytes(raw))}",
                    "name": name.value.decode(errors="replace"),
                }
            )
        return found

    def sms_per_unit(self, index: int) -> list[int]:
        """SMs of each co-scheduled group that the driver makes, the remainder last."""
        whole = (ctypes.c_ubyte * _RESOURCE_BYTES)()
        rest = (ctypes.c_ubyte * _RESOURCE_BYTES)()
        groups = (ctypes.c_ubyte * (_RESOURCE_BYTES * _MOST_UNITS))()
        count = ctypes.c_uint(_MOST_UNITS)
        self.call(
            "cuDeviceGetDevResource",
            self._device(index),
            ctypes.byref(whole),
            ctypes.c_int(_RESOURCE_TYPE_SM),
        )
        self.call(
            "cuDevSmResourceSplitByCount",
            ctypes.byref(groups),
            ctypes.byref(count),
            ctypes.byref(whole),
            ctypes.byref(rest),
            ctypes.c_uint(0),
            ctypes.c_uint(SMS_PER_UNIT_AT_LEAST),
        )
        counts = [_sm_count(groups, i * _RESOURCE_BYTES) for i in range(count.value)]
        remainder = _sm_count(rest, 0)
        return counts + [remainder] * (remainder > 0)

    def _device(self, index: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        return device


def _sm_count(resources: Any, at: int) -> int:
    return int.from_bytes(bytes(resources[at + _RESOURCE_SM_COUNT_AT :][:4]), "little")


def _release() -> str | None:
    try:
        words = Path("/sys/module/nvidia/version").read_text().split()
    except OSError:
        return None
    return words[0] if words else None


def _matches(gpu: dict[str, Any], selector: str) -> bool:
    return selector == str(gpu["index"]) or selector.lower() == gpu["uuid"].lower()


def probe(selector: str) -> dict[str, Any]:
    """What is printed; never raises for a driver that is absent or fails."""
    answer: dict[str, Any] = {"gpus": [], "gpu": None, "error": None}
    try:
        driver = Driver()
        driver.call("cuInit", ctypes.c_uint(0))
        answer["gpus"] = driver.gpus()
        for gpu in answer["gpus"]:
            if _matches(gpu, selector):
                answer["gpu"] = {
                    **gpu,
                    "driver_version": driver.version(),
                    "sms_per_unit": driver.sms_per_unit(gpu["index"]),
                }
    except DriverError as error:
        answer["error"] = str(error)
    return answer


if __name__ == "__main__":
    json.dump(probe(sys.argv[1] if len(sys.argv) > 1 else "0"), sys.stdout)
