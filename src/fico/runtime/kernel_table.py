"""Profiles as the preloaded library reads them (native/profile/table.hpp)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fico import _native
from fico.records.gpu import Gpu
from fico.records.profile import Launch, Profile
from fico.runtime import profile_file
from fico.runtime.errors import FicoError
from fico.runtime.traces import trace_of


def write_kernel_table(
    profiles: Sequence[Path], gpu: Gpu, path: Path, *, force: bool = False
) -> None:
    """Write the table of a program's profile files: their traces one after another.

    UsageError or FicoError: a profile can't be read, or is of another GPU or driver, unless
    forced; FicoError: the table can't be written.
    """
    traces: list[tuple[list[_native.TableRow], _native.SimTrace]] = []
    for file in profiles:
        profile = profile_file.load(file)
        profile_file.check_gpu(profile, gpu, force=force)
        try:
            traces += _traces(profile, len(gpu.sms_per_unit))
        except ValueError as error:
            raise FicoError(f"{file} cannot be used: {error}", "profile it again") from None
    try:
        _native.write_kernel_table(str(path), traces)
    except OSError as error:
        raise FicoError(f"{path} cannot be written: {error.strerror or error}") from None


def _traces(
    profile: Profile, units: int
) -> Iterator[tuple[list[_native.TableRow], _native.SimTrace]]:
    for index, trace in enumerate(profile.traces):
        kernels = list(_kernels(profile.trace_launches(index), units))
        if kernels:
            rows = [(kernel.mangled, kernel.grid, kernel.block) for kernel in kernels]
            yield rows, trace_of(kernels, trace.from_graph)


def _kernels(launches: Sequence[Launch], units: int) -> Iterator[Launch]:
    """The kernels of a request, on a GPU of so many units. Copies and fills are in their gaps."""
    before_us = 0.0
    for launch in launches:
        gap_us = before_us + max(0.0, launch.gap_us)
        if launch.kind != "kernel":
            before_us = gap_us + launch.duration_us
            continue
        before_us = 0.0
        scaling_us = launch.scaling_us[:units]
        # Only a profile of another GPU, forced upon this one, does not fit.
        scaling_us += scaling_us[-1:] * (units - len(scaling_us))
        right_units = min(units, launch.right_units)
        yield replace(launch, gap_us=gap_us, scaling_us=scaling_us, right_units=right_units)
