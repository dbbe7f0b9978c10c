"""The devices by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fico.bench.policy import POLICIES
from fico.runtime.errors import UsageError

if TYPE_CHECKING:
    from fico.bench.live_device import LiveDevice
    from fico.bench.sim_device import SimDevice

DEVICES = {
    "sim": "the simulator: virtual time, no GPU",
    "emulated": "real processes on the emulated GPU",
    "cuda": "real processes on a GPU",
}
LIVE_ROUNDS = 2
"""Of real processes, where nothing else is asked for: enough to see a drift."""


def open_device(
    name: str,
    models: Iterable[str],
    profile_folders: Sequence[Path] = (),
    timeline: Path | None = None,
) -> SimDevice | LiveDevice:
    """The device to run cells of these models on. UsageError if there is none.

    `timeline`: where servers record what is decided; the simulator has none.
    """
    if name == "sim":
        from fico.bench.sim_device import SimDevice

        return SimDevice.of(models, profile_folders)
    if name not in DEVICES:
        raise UsageError(f"there is no device {name!r}", f"choose from {', '.join(DEVICES)}")
    from fico.bench.live_device import LiveDevice

    return LiveDevice(name, models, profile_folders, timeline)


def policies_on(name: str) -> tuple[str, ...]:
    """All policies of a device."""
    if name not in DEVICES or name == "sim":
        return tuple(POLICIES)
    from fico.bench.live_device import POLICIES as LIVE

    return LIVE[name]
