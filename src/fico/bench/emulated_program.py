"""From a profile to a program for the emulated GPU (docs/emulator.md has the format of modules).

The gap before a kernel is part of the kernel: the emulated GPU has no launch latency.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import accumulate
from typing import Any

from fico.bench.programs.emulated_server import THREADS
from fico.bench.sim_device import mixed
from fico.records.gpu import Gpu
from fico.records.profile import Launch, Profile
from fico.runtime.errors import UsageError

_UNITS = 16
_SHORTEST_US = 0.001


def program_of(name: str, profile: Profile) -> dict[str, Any]:
    """What `fico.bench.programs.emulated_server` takes. UsageError for a GPU of other units."""
    if len(profile.gpu.sms_per_unit) != _UNITS:
        raise UsageError(
            f"the profile {name} is of a GPU of {len(profile.gpu.sms_per_unit)} units",
            f"the emulated GPU has {_UNITS}: give profiles of an H200",
        )
    launches = profile.launches
    kernels = [f"kernel {_name(name, launch)} {_options(launch)}\n" for launch in launches]
    kinds = [profile.trace_launches(number) for number in range(len(profile.traces))]
    return {
        "module": "fico-emulated-module\n" + "".join(kernels),
        "requests": [
            [(_name(name, launch), _blocks(launch)) for launch in launches] for launches in kinds
        ],
        "turns": mixed(profile) or (0,),
        "graph": _is_graph(profile),
    }


def profile_of(name: str, profile: Profile, gpu: Gpu) -> Profile:
    """What `fico profile` would say of that program on the emulated GPU."""
    launches = tuple(_emulated(name, launch, profile.epsilon) for launch in profile.launches)
    is_graph = _is_graph(profile)
    traces = tuple(replace(trace, from_graph=is_graph) for trace in profile.traces)
    return replace(profile, gpu=gpu, launches=launches, traces=traces)


def _emulated(name: str, launch: Launch, epsilon: float) -> Launch:
    curve = curve_us(launch)
    enough = (units for units, us in enumerate(curve, 1) if us <= (1 + epsilon) * curve[-1])
    kernel = _name(name, launch)
    return replace(
        launch,
        kind="kernel",
        name=kernel,
        mangled=kernel,
        grid=(_blocks(launch), 1, 1),
        block=(THREADS, 1, 1),
        cluster=(1, 1, 1),
        gap_us=0.0,
        duration_us=curve[-1],
        scaling_us=tuple(curve),
        right_units=next(enough),
    )


def curve_us(launch: Launch) -> list[float]:
    """What the kernel takes with its gap, alone on 1, 2, … units: never longer on more."""
    fewer_first = accumulate(launch.scaling_us, min)
    return [max(_SHORTEST_US, us) + max(0.0, launch.gap_us) for us in fewer_first]


def _name(program: str, launch: Launch) -> str:
    """Models share no kernels, so that each is known by its kernels alone."""
    return f"{re.sub('[^A-Za-z0-9]', '_', program)}_{launch.trace}_{launch.position}"


def _blocks(launch: Launch) -> int:
    return max(1, math.prod(launch.grid))


def _is_graph(profile: Profile) -> bool:
    return any(trace.from_graph for trace in profile.traces)


def _options(launch: Launch) -> str:
    def listed(values: list[float]) -> str:
        return ",".join(f"{value:.4f}" for value in values)

    return (
        f"op=spin blocks_per_sm={max(1, launch.blocks_per_sm)} curve={listed(curve_us(launch))} "
        f"pressure={listed([min(1.0, max(0.0, share)) for share in launch.pressure])} "
        f"sensitivity={listed([max(0.0, growth) for growth in launch.sensitivity])}"
    )
