"""What a machine needs for Fico, looked at one by one, each with how to mend it."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from fico import _native
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED, ask_driver
from fico.runtime.mps import CONTROL, SERVER, mps_processes
from fico.runtime.paths import runtime_dir, shm_dir
from fico.runtime.preload import check_preload
from fico.runtime.quota import format_size
from fico.runtime.session import SHM_BYTES_AT_LEAST, known_session, known_sessions
from fico.runtime.status import session_status

# MPS keeps pinned host memory of its clients in /dev/shm; containers get 64 MiB unless told.
_SHM_BYTES_WISE = 256 << 20

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


def examine(selector: str) -> Iterator[Finding]:
    """Look at everything that tenants of this GPU need. Slow: some of it takes seconds."""
    emulated = selector == EMULATED
    checks: list[Callable[[], Iterator[Finding]]] = [
        _preload,
        _runtime_dir,
        _shared_memory,
        lambda: _driver(selector, emulated),
    ]
    if not emulated:
        checks += [lambda: _nvml(selector), _mps_programs, _mps_running, _environment]
    for check in (*checks, _sessions):
        yield from check()


def _preload() -> Iterator[Finding]:
    try:
        check_preload(os.environ)
        yield Finding("ok", "preload", f"{_native.library_path()} can be preloaded")
    except FicoError as error:
        yield Finding("fail", "preload", error.message, error.remedy)


def _runtime_dir() -> Iterator[Finding]:
    try:
        yield Finding("ok", "sessions", f"are kept in {runtime_dir(create=False)}")
    except FicoError as error:
        yield Finding("fail", "sessions", error.message, error.remedy)


def _shared_memory() -> Iterator[Finding]:
    folder = shm_dir()
    more = "free some, or give the container more (docker run --shm-size=1g)"
    try:
        space = os.statvfs(folder)
    except OSError as error:
        yield Finding("fail", "memory", f"{folder}: {error.strerror}", "mount a tmpfs there")
        return
    free_bytes = space.f_bavail * space.f_frsize
    text = f"{folder} has {format_size(free_bytes)} free"
    if free_bytes < SHM_BYTES_AT_LEAST:
        yield Finding("fail", "memory", f"{text}, too little for a session", more)
    elif free_bytes < _SHM_BYTES_WISE:
        yield Finding("warn", "memory", f"{text}: pinned host memory of tenants has to fit", more)
    else:
        yield Finding("ok", "memory", text)


def _driver(selector: str, emulated: bool) -> Iterator[Finding]:
    session = known_session(selector)
    mps = session.mps.environment() if session is not None and session.mps is not None else {}
    answer = ask_driver("0" if emulated else selector, emulated, "--try", extra=mps)
    gpu: dict[str, Any] | None = answer["gpu"]
    if gpu is None:
        known = ", ".join(f"{gpu['index']} ({gpu['uuid']})" for gpu in answer["gpus"])
        reason = answer["error"] or f"there is no GPU {selector}, only {known or 'none'}"
        yield Finding("fail", "driver", reason, "install the NVIDIA driver, 550 or newer")
        return
    version = EMULATED if emulated else gpu["driver_version"]
    yield Finding("ok", "driver", f"{gpu['name']}, driver {version}")
    sizes = [(sms, len(list(same))) for sms, same in groupby(gpu["sms_per_unit"])]
    units = " and ".join(f"{count} of {sms} SMs" for sms, count in sizes)
    yield Finding("ok", "units", f"{len(gpu['sms_per_unit'])} units: {units}")
    if gpu["green_context"] is not None:
        remedy = "update the driver; if the GPU is busy or exclusive, end what uses it"
        yield Finding("fail", "partitions", f"no green context: {gpu['green_context']}", remedy)
    else:
        yield Finding("ok", "partitions", "a green context on one unit was made")


def _nvml(selector: str) -> Iterator[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
        if selector.isdecimal():
            device = pynvml.nvmlDeviceGetHandleByIndex(int(selector))
        else:
            device = pynvml.nvmlDeviceGetHandleByUUID(selector)
        mode = pynvml.nvmlDeviceGetComputeMode(device)
        yield Finding("ok", "NVML", f"driver {pynvml.nvmlSystemGetDriverVersion()}")
    except pynvml.NVMLError as error:
        yield Finding("warn", "NVML", str(error), "see whether nvidia-smi works")
        return
    if mode == pynvml.NVML_COMPUTEMODE_PROHIBITED:
        yield Finding("fail", "mode", "the GPU is closed to compute", "nvidia-smi -c DEFAULT")
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(device)
    except pynvml.NVMLError:
        return  # a GPU without MIG
    if current == pynvml.NVML_DEVICE_MIG_ENABLE:
        yield Finding("fail", "mode", "the GPU is split by MIG", "nvidia-smi -mig 0")


def _mps_programs() -> Iterator[Finding]:
    for program in (CONTROL, SERVER):
        path = shutil.which(program)
        if path is None:
            remedy = "install the driver's compute utilities (nvidia-compute-utils)"
            yield Finding("fail", "MPS", f"there is no {program} in PATH", remedy)
        else:
            yield Finding("ok", "MPS", path)


def _mps_running() -> Iterator[Finding]:
    """Daemons that are not of a session; a server is a child of its daemon, and counts as it."""
    ours = {status.mps_pid for status in map(session_status, known_sessions())}
    for process in mps_processes():
        if process.user != os.getuid():
            text = f"MPS of user {process.user} is running (process {process.pid})"
            remedy = "have that user end it: echo quit | nvidia-cuda-mps-control"
            yield Finding("fail", "MPS", text, remedy)
        elif process.pid not in ours and process.parent not in ours:
            text = f"MPS outside of any session is running (process {process.pid})"
            remedy = "if nothing uses it, end it: echo quit | nvidia-cuda-mps-control"
            yield Finding("warn", "MPS", text, remedy)


def _environment() -> Iterator[Finding]:
    if "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" in os.environ:
        text = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is set, and is taken from tenants"
        yield Finding("warn", "MPS", text, "unset it: quotas do its work")


def _sessions() -> Iterator[Finding]:
    for session in known_sessions():
        status = session_status(session)
        subject = f"session {session.key}"
        if status.problem is not None:
            yield Finding("fail", subject, status.problem)
            continue
        names = ", ".join(tenant.name for tenant in status.tenants) or "none"
        yield Finding("ok", subject, f"policy {status.policy}, tenants: {names}")
        for tenant in status.tenants:
            for fall_back in tenant.fall_backs:
                text = f"{tenant.name}: {fall_back.count} {fall_back.meaning}"
                yield Finding("warn", subject, text, "see 'fico status'")
