"""Synthetic profiles: as many kernels as the models have on an H200, as long on average.

Their spread, scaling and sensitivity are made up, within what is plausible. The same name gives
the same profile.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from fico.records.gpu import Gpu
from fico.records.profile import (
    NEIGHBOURS,
    Bound,
    KernelClass,
    Launch,
    Profile,
    Resource,
    Trace,
)

SMS_PER_UNIT = (8,) * 15 + (12,)
H200 = Gpu(0, "GPU-synthetic", "NVIDIA H200 (synthetic)", "580.0", SMS_PER_UNIT)
EPSILON = 0.05
MEASURED_UNITS = (1, 2, 4, 8, 12, 16)
THRESHOLDS = {"insensitive_gain": 0.1, "dominant_gain": 0.4}


@dataclass(frozen=True)
class Shape:
    """A model at a batch size, alone on an H200."""

    kernels: int
    gpu_us: float
    graph_us: float
    eager_us: float
    parallel: float
    """How many of its kernels gain from more SMs, 0 to 1."""


# Kernels and latencies: measured; at batch 32 the kernels are counted as at 8.
SHAPES = {
    "resnet152-bs1": Shape(695, 2273, 2580, 12850, 0.15),
    "resnet152-bs8": Shape(674, 3976, 4130, 8080, 0.50),
    "resnet152-bs32": Shape(674, 10600, 10790, 11800, 0.90),
    "resnet101-bs1": Shape(465, 1549, 1760, 5720, 0.15),
    "resnet101-bs8": Shape(453, 2800, 2900, 5800, 0.50),
    "resnet101-bs32": Shape(453, 7600, 7730, 8440, 0.90),
    "densenet201-bs1": Shape(981, 2891, 3270, 13760, 0.10),
    "densenet201-bs8": Shape(957, 5808, 6090, 13340, 0.40),
    "densenet201-bs32": Shape(957, 15200, 15420, 16610, 0.80),
    "vgg16-bs1": Shape(84, 635, 670, 840, 0.40),
    "vgg16-bs8": Shape(93, 2470, 2500, 2660, 0.80),
    "vgg16-bs32": Shape(93, 7830, 7860, 8020, 0.98),
    "mobilenet_v2-bs1": Shape(157, 406, 450, 2560, 0.10),
    "mobilenet_v2-bs8": Shape(151, 874, 920, 2450, 0.40),
    "mobilenet_v2-bs32": Shape(151, 2530, 2580, 2820, 0.80),
}
NAMES = tuple(f"{shape}-{mode}" for shape in SHAPES for mode in ("graph", "eager"))


def synthetic_profile(name: str) -> Profile:
    """The profile of one of NAMES. KeyError for another."""
    model, _, mode = name.rpartition("-")
    shape = SHAPES[model]
    rng = random.Random(zlib.crc32(model.encode()))
    weights = [rng.lognormvariate(0, 0.7) for _ in range(shape.kernels)]
    scale = shape.gpu_us / sum(weights)
    latency_us = shape.graph_us if mode == "graph" else shape.eager_us
    gap_us = max(0.2, (latency_us - shape.gpu_us) / shape.kernels)
    launches = tuple(
        _launch(rng, position, weight * scale, gap_us, shape.parallel, mode == "graph")
        for position, weight in enumerate(weights)
    )
    totals = [
        sum(launch.gap_us + launch.scaling_us[units - 1] for launch in launches)
        for units in MEASURED_UNITS
    ]
    trace = Trace(
        launches=len(launches),
        requests=100,
        from_graph=mode == "graph",
        latency_us=tuple(totals),
        period_us=tuple(total + 10 for total in totals),
        pressure=_mean_pressure(launches),
    )
    return Profile(
        gpu=H200,
        cuda="13.0",
        program=name,
        arguments=(),
        created="2026-01-01T00:00:00+00:00",
        epsilon=EPSILON,
        measured_units=MEASURED_UNITS,
        shared_units=len(SMS_PER_UNIT) // 2,
        traces=(trace,),
        launches=launches,
        thresholds=dict(THRESHOLDS),
    )


def _launch(
    rng: random.Random,
    position: int,
    duration_us: float,
    gap_us: float,
    parallel: float,
    from_graph: bool,
) -> Launch:
    units = len(SMS_PER_UNIT)
    # From this many units on the kernel does not become faster.
    enough = rng.uniform(0.8, 1.6) * units if rng.random() < parallel else rng.uniform(0.5, 4)
    scaling_us = [
        duration_us * max(1.0, enough / n) / max(1.0, enough / units) for n in range(1, 17)
    ]
    right = next(n for n, t in enumerate(scaling_us, 1) if t <= (1 + EPSILON) * duration_us)
    gain = scaling_us[units // 2 - 1] / duration_us - 1
    kernel_class = KernelClass.NEUTRAL
    if gain <= THRESHOLDS["insensitive_gain"]:
        kernel_class = KernelClass.INSENSITIVE
    elif gain >= THRESHOLDS["dominant_gain"]:
        kernel_class = KernelClass.DOMINANT
    bound = Bound.LATENCY if enough < units / 2 else rng.choice((Bound.COMPUTE, Bound.MEMORY))
    memory = rng.uniform(0.3, 0.6) if bound is Bound.MEMORY else rng.uniform(0, 0.2)
    sensitivity = (0.0, memory * 0.5, rng.uniform(0, 0.1))
    # As many blocks as its registers leave room for, of 65536 on an SM.
    blocks_per_sm, registers = rng.choice(((1, 255), (2, 128), (4, 64), (8, 32)))
    return Launch(
        trace=0,
        position=position,
        kind="kernel",
        name=f"kernel_{position % 40}",
        mangled=f"_Z8kernel_{position % 40}v",
        grid=(max(1, round(enough * 8 * blocks_per_sm)), 1, 1),
        block=(256, 1, 1),
        cluster=(1, 1, 1),
        registers=registers,
        shared_bytes=8192,
        blocks_per_sm=blocks_per_sm,
        stream=0,
        from_graph=from_graph,
        gap_us=gap_us,
        duration_us=duration_us,
        spread_us=0.05 * duration_us,
        measured_us=tuple(scaling_us[n - 1] for n in MEASURED_UNITS),
        scaling_us=tuple(scaling_us),
        fit_error=0.01,
        right_units=right,
        slowdowns=tuple(
            1 + sensitivity[list(Resource).index(n.resource)] * n.strength for n in NEIGHBOURS
        ),
        sensitivity=sensitivity,
        pressure=(min(1.0, 2 * enough / units), memory, rng.uniform(0, 0.3)),
        bound=bound,
        kernel_class=kernel_class,
    )


def _mean_pressure(launches: tuple[Launch, ...]) -> tuple[float, float, float]:
    whole_us = sum(launch.duration_us for launch in launches)
    compute, memory, l2 = (
        sum(launch.pressure[i] * launch.duration_us for launch in launches) / whole_us
        for i in range(3)
    )
    return compute, memory, l2
