"""What the driver says about a GPU: `python -m fico.runtime.probe INDEX|UUID [--try]` prints JSON.

A process of its own, because a process that has initialised CUDA keeps the GPU busy, can't change
what it sees, and dies with a driver that misbehaves. Prints one object: `gpus` (index, uuid, name
of each), `gpu` (the one that was asked for, with its units, or null) and `error` (or null). With
`--try` a green context is made and ended; the GPU's `green_context` says why that failed, or null.
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
_GREEN_CONTEXT_DEFAULT_STREAM = 1

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
        return [_sm_count(group) for group in self._units(index)]

    def try_green_context(self, index: int) -> None:
        """Make a green context on the first unit, and end it. DriverError if that fails."""
        unit = ctypes.create_string_buffer(self._units(index)[0], _RESOURCE_BYTES)
        described, context = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuDevResourceGenerateDesc", ctypes.byref(described), unit, ctypes.c_uint(1))
        device = self._device(index)
        flags = ctypes.c_uint(_GREEN_CONTEXT_DEFAULT_STREAM)
        self.call("cuGreenCtxCreate", ctypes.byref(context), described, device, flags)
        self.call("cuGreenCtxDestroy", context)

    def _units(self, index: int) -> list[bytes]:
        whole = ctypes.create_string_buffer(_RESOURCE_BYTES)
        rest = ctypes.create_string_buffer(_RESOURCE_BYTES)
        groups = ctypes.create_string_buffer(_RESOURCE_BYTES * _MOST_UNITS)
        count = ctypes.c_uint(_MOST_UNITS)
        kind = ctypes.c_int(_RESOURCE_TYPE_SM)
        self.call("cuDeviceGetDevResource", self._device(index), whole, kind)
        self.call(
            "cuDevSmResourceSplitByCount",
            groups,
            ctypes.byref(count),
            whole,
            rest,
            ctypes.c_uint(0),
            ctypes.c_uint(SMS_PER_UNIT_AT_LEAST),
        )
        ends = range(0, count.value * _RESOURCE_BYTES, _RESOURCE_BYTES)
        units = [groups.raw[at : at + _RESOURCE_BYTES] for at in ends]
        return units + [rest.raw] * (_sm_count(rest.raw) > 0)

    def _device(self, index: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        return device


def _sm_count(resource: bytes) -> int:
    return int.from_bytes(resource[_RESOURCE_SM_COUNT_AT:][:4], "little")


def _release() -> str | None:
    try:
        words = Path("/sys/module/nvidia/version").read_text().split()
    except OSError:
        return None
    return words[0] if words else None


def _matches(gpu: dict[str, Any], selector: str) -> bool:
    return selector == str(gpu["index"]) or selector.lower() == gpu["uuid"].lower()


def probe(selector: str, attempt: bool = False) -> dict[str, Any]:
    """What is printed; never raises for a driver that is absent or fails."""
    answer: dict[str, Any] = {"gpus": [], "gpu": None, "error": None}
    try:
        driver = Driver()
        driver.call("cuInit", ctypes.c_uint(0))
        answer["gpus"] = driver.gpus()
        for gpu in answer["gpus"]:
            if _matches(gpu, selector):
                found = {
                    **gpu,
                    "driver_version": driver.version(),
                    "sms_per_unit": driver.sms_per_unit(gpu["index"]),
                }
                if attempt:
                    found["green_context"] = _attempt(driver, gpu["index"])
                answer["gpu"] = found
    except DriverError as error:
        answer["error"] = str(error)
    return answer


def _attempt(driver: Driver, index: int) -> str | None:
    try:
        driver.try_green_context(index)
    except DriverError as error:
        return str(error)
    return None


if __name__ == "__main__":
    json.dump(probe(sys.argv[1], "--try" in sys.argv[2:]), sys.stdout)
