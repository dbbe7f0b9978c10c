"""From a profile to a program for the emulated GPU (docs/emulator.md has the format of modules).

The gap before a kernel is part of the kernel: the emulated GPU has no launch latency.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

from fico.bench.sim_device import mixed
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
    kernels = [f"kernel {_name(launch)} {_options(launch)}\n" for launch in profile.launches]
    kinds = [profile.trace_launches(number) for number in range(len(profile.traces))]
    return {
        "module": "fico-emulated-module\n" + "".join(kernels),
        "requests": [
            [(_name(launch), max(1, math.prod(launch.grid))) for launch in launches]
            for launches in kinds
        ],
        "turns": mixed(profile) or (0,),
        "graph": any(trace.from_graph for trace in profile.traces),
    }


def curve_us(launch: Launch) -> list[float]:
    """What the kernel takes with its gap, alone on 1, 2, … units: never longer on more."""
    fewer_first = accumulate(launch.scaling_us, min)
    return [max(_SHORTEST_US, us) + max(0.0, launch.gap_us) for us in fewer_first]


def _name(launch: Launch) -> str:
    return f"k{launch.trace}_{launch.position}"


def _options(launch: Launch) -> str:
    def listed(values: list[float]) -> str:
        return ",".join(f"{value:.4f}" for value in values)

    return (
        f"op=spin blocks_per_sm={max(1, launch.blocks_per_sm)} curve={listed(curve_us(launch))} "
        f"pressure={listed([min(1.0, max(0.0, share)) for share in launch.pressure])} "
        f"sensitivity={listed([max(0.0, growth) for growth in launch.sensitivity])}"
    )
