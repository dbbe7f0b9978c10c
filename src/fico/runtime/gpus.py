"""Which GPU is meant, and what the driver says about it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from fico import _native
from fico.records.gpu import Gpu
from fico.runtime.errors import FicoError, UsageError

EMULATED = "emulated"
_PROBE = os.path.join(os.path.dirname(__file__), "probe.py")
_PROBE_TIMEOUT_S = 60

_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def selected_gpu(given: str | None) -> str:
    """What `--gpu` says, else $FICO_GPU, else the first of $CUDA_VISIBLE_DEVICES, else 0.

    Gives an index, a UUID or `emulated`; UsageError for anything else.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    selector = given or os.environ.get("FICO_GPU") or visible or "0"
    if selector.isdecimal() or selector == EMULATED or _UUID.fullmatch(selector):
        return selector
    raise UsageError(
        f"GPU {selector!r} is not understood",
        f"give its index, its whole UUID (GPU-…) as in nvidia-smi -L, or {EMULATED!r}",
    )


def driver_environment(emulated: bool, base: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program finds the driver: the machine's or the emulated one."""
    environment = dict(base)
    if emulated:
        others = environment.get("LD_LIBRARY_PATH", "")
        folders = [_native.emulated_driver_dir(), *(f for f in others.split(":") if f)]
        environment["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys(folders))
    return environment


def find_gpu(selector: str) -> Gpu:
    """Ask the driver about a GPU. FicoError: no driver, no such GPU, no green contexts."""
    emulated = selector == EMULATED
    answer = ask_driver("0" if emulated else selector, emulated)
    found = answer["gpu"]
    if found is not None:
        if emulated:
            found = {**found, "driver_version": EMULATED}
        return Gpu.from_json({**found, "emulated": emulated})
    if answer["error"] is not None:
        raise FicoError(
            f"the GPU cannot be asked: {answer['error']}",
            "install the NVIDIA driver (550 or newer), or try --gpu emulated; see 'fico doctor'",
        )
    known = ", ".join(f"{gpu['index']}: {gpu['name']} ({gpu['uuid']})" for gpu in answer["gpus"])
    raise FicoError(
        f"there is no GPU {selector}", f"there are: {known}" if known else "there is none"
    )


def ask_driver(
    selector: str, emulated: bool, *options: str, extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The probe's answer (see fico.runtime.probe); a probe that dies is an answer with an error.

    The options are the probe's; what is extra is set in its environment.
    """
    environment = driver_environment(emulated, os.environ)
    for name in list(environment):
        # The probe is no tenant, no client of MPS and not what a profiler wants to see, and it
        # counts GPUs as nvidia-smi does.
        others = ("LD_PRELOAD", "CUDA_VISIBLE_DEVICES", "CUDA_INJECTION64_PATH")
        if name in others or name.startswith("CUDA_MPS_"):
            del environment[name]
    if emulated:
        environment["FICO_EMULATED_INSTANT"] = "1"  # it needs no device that others see
    environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **(extra or {})}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", _PROBE, selector, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _failed(f"the driver gave no answer in {_PROBE_TIMEOUT_S} s")
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return _failed(f"asking the driver ended with {done.returncode} {' '.join(last)}".strip())
    return answer


def _failed(reason: str) -> dict[str, Any]:
    return {"gpus": [], "gpu": None, "error": reason}
