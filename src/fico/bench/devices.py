"""The devices by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fico.bench.device import Device
from fico.runtime.errors import UsageError

DEVICES = {
    "sim": "the simulator: virtual time, no GPU",
    "emulated": "real processes on the emulated GPU (not yet)",
    "cuda": "real processes on a GPU (not yet)",
}


def open_device(name: str, models: Iterable[str], profile_folders: Sequence[Path] = ()) -> Device:
    """The device to run cells of these models on. UsageError if there is none, or not yet."""
    from fico.bench.sim_device import SimDevice

    if name not in DEVICES:
        raise UsageError(f"there is no device {name!r}", f"choose from {', '.join(DEVICES)}")
    if name != "sim":
        raise UsageError(f"device {name} cannot run cells yet", "use --device sim")
    return SimDevice.of(models, profile_folders)
