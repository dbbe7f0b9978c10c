"""From a profile to what the scheduler and the simulator know of a request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fico import _native
from fico.records.profile import Bound, KernelClass, Launch, Profile

# As native/profile/kernel.hpp numbers them.
CLASSES = {KernelClass.NEUTRAL: 0, KernelClass.DOMINANT: 1, KernelClass.INSENSITIVE: 2}
BOUNDS = {Bound.LATENCY: 0, Bound.COMPUTE: 1, Bound.MEMORY: 2}


def trace_of(launches: Sequence[Launch], from_graph: bool) -> _native.SimTrace:
    """One kind of request. Copies and fills run as kernels of one block that nothing scales."""

    def column(values: list[int], dtype: type) -> _native.Array:
        return np.asarray(values, dtype=dtype)

    def product(shape: tuple[int, int, int]) -> int:
        return int(np.prod(shape, dtype=np.int64))

    return _native.SimTrace(
        duration_us=np.array([launch.scaling_us for launch in launches], dtype=np.float64),
        gap_us=np.array([max(0.0, launch.gap_us) for launch in launches], dtype=np.float64),
        blocks=column([max(1, product(x.grid)) for x in launches], np.uint32),
        blocks_per_sm=column([max(1, x.blocks_per_sm) for x in launches], np.uint32),
        threads=column([product(x.block) for x in launches], np.uint32),
        registers=column([x.registers for x in launches], np.uint32),
        shared_bytes=column([x.shared_bytes for x in launches], np.uint32),
        cluster=column([max(1, product(x.cluster)) for x in launches], np.uint32),
        sensitivity=np.array([launch.sensitivity for launch in launches], dtype=np.float64),
        pressure=np.array([launch.pressure for launch in launches], dtype=np.float64),
        right_units=column([x.right_units for x in launches], np.uint32),
        kernel_class=column([CLASSES[x.kernel_class] for x in launches], np.uint8),
        bound=column([BOUNDS[x.bound] for x in launches], np.uint8),
        from_graph=from_graph,
    )


def traces_of(profile: Profile) -> list[_native.SimTrace]:
    """All kinds of request of a profiled program, in order."""
    return [
        trace_of(profile.trace_launches(index), trace.from_graph)
        for index, trace in enumerate(profile.traces)
    ]
