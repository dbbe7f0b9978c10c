"""A profile as the preloaded library reads it (native/profile/table.hpp)."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from fico import _native
from fico.records.gpu import Gpu
from fico.records.profile import KernelClass, Launch
from fico.runtime import profile_file
from fico.runtime.errors import FicoError

# As native/profile/kernel.hpp numbers them.
CLASSES = {KernelClass.NEUTRAL: 0, KernelClass.DOMINANT: 1, KernelClass.INSENSITIVE: 2}


def write_kernel_table(profile: Path, gpu: Gpu, path: Path, *, force: bool = False) -> None:
    """Write the table of a profile file.

    UsageError or FicoError: the profile can't be read, or is of another GPU or driver, unless
    forced; FicoError: the table can't be written.
    """
    found = profile_file.load(profile)
    profile_file.check_gpu(found, gpu, force=force)
    traces = [
        _rows([launch for launch in found.trace_launches(index) if launch.kind == "kernel"])
        for index in range(len(found.traces))
    ]
    try:
        _native.write_kernel_table(str(path), [rows for rows in traces if rows])
    except OSError as error:
        raise FicoError(f"{path} cannot be written: {error.strerror or error}") from None


def _rows(launches: list[Launch]) -> list[_native.TableRow]:
    """With the time from each launch to the end of its request, alone on all units."""
    took_us = [max(0.0, launch.gap_us) + launch.duration_us for launch in launches]
    remaining_us = list(accumulate(reversed(took_us)))[::-1]
    return [
        (launch.mangled, launch.grid, launch.block, left_us, CLASSES[launch.kernel_class])
        for launch, left_us in zip(launches, remaining_us, strict=True)
    ]
