"""What neighbours on other SMs do to a kernel, and it to them.

Measured with the program on `shared_units` and a neighbour on the other units, that asks for a
part (the strength) of one resource:
 - slow-down: the duration beside a neighbour over that without one, medians at one position;
 - sensitivity: the slope of slow-down - 1 over the strength, through the origin, least squares;
 - pressure of the program: how much of its speed the full-strength neighbour lost beside it. A
   neighbour that asks for all of a resource and gets the part f leaves 1 - f to the program.
Of memory both are those of the neighbours that only read.
The program's pressure is spread over its kernels by their sensitivity, since what uses a resource
feels its loss; the mean over time stays what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fico.profiling.records import NeighbourRates
from fico.records.profile import NEIGHBOURS, Bound, Neighbour, Resource

Floats = NDArray[np.float64]
RESOURCES = tuple(Resource)

MEMORY_COST = 1.15
"""A kernel that a memory neighbour of half strength slows down by more is bound by bandwidth …"""
FILLED = 1.0
"""… if its blocks fill the SMs that it had at least this many times; fewer wait for latency."""
COMPUTE_GAIN = 1.3
"""A kernel that half of the units slow down by more is bound by the SMs' work."""
MANY_WAVES = 4.0
"""A kernel of so many waves whose SMs do not matter is bound by what all SMs share."""
_LEAST_WEIGHT = 0.02


def is_of(resource: Resource, neighbour: Neighbour) -> bool:
    """Whether sensitivity and pressure rest on this neighbour."""
    return neighbour.resource == resource and not neighbour.writes


def sensitivity(slowdowns: Floats) -> Floats:
    """Relative growth of the duration beside full neighbours, from slow-downs beside NEIGHBOURS.

    (…, neighbours) gives (…, resources); 0 where nothing was measured.
    """
    strengths = np.array([neighbour.strength for neighbour in NEIGHBOURS])
    slopes = []
    for resource in RESOURCES:
        of = np.array([is_of(resource, neighbour) for neighbour in NEIGHBOURS])
        growth, strength = slowdowns[..., of] - 1, strengths[of]
        known = np.isfinite(growth)
        weight = np.where(known, strength**2, 0).sum(axis=-1)
        product = np.where(known, growth * strength, 0).sum(axis=-1)
        slopes.append(np.divide(product, weight, out=np.zeros_like(product), where=weight > 0))
    return np.asarray(np.maximum(np.stack(slopes, axis=-1), 0))


def program_pressure(rates: Mapping[Neighbour, NeighbourRates]) -> Floats:
    """The part of each resource that a program takes, 0 to 1; 0 where it was not measured.

    ValueError for a neighbour that did nothing even alone.
    """
    pressure = np.zeros(len(RESOURCES))
    for index, resource in enumerate(RESOURCES):
        measured = [neighbour for neighbour in rates if is_of(resource, neighbour)]
        if measured:
            strongest = rates[max(measured, key=lambda neighbour: neighbour.strength)]
            if strongest.alone <= 0:
                raise ValueError(f"the {resource} neighbour did nothing alone")
            pressure[index] = np.clip(1 - strongest.beside / strongest.alone, 0, 1)
    return pressure


def spread_pressure(total: float, weights: Floats, durations_us: Floats, span_us: float) -> Floats:
    """Pressure of each launch while it runs, such that its mean over `span_us` is `total`.

    In proportion to the weights, each at most 1; less than `total` in all if even 1 everywhere is
    less.
    """
    wanted_us = total * span_us
    pressure = np.zeros_like(durations_us)
    free = (durations_us > 0) & (weights > 0)
    while wanted_us > 0 and free.any():
        scale = wanted_us / float(np.sum(weights[free] * durations_us[free]))
        full = free & (weights * scale >= 1)
        if not full.any():
            pressure[free] = weights[free] * scale
            break
        pressure[full] = 1
        wanted_us -= float(durations_us[full].sum())
        free &= ~full
    return pressure


def pressure_weights(sensitivities: Floats) -> Floats:
    """How likely a launch is to use each resource; never 0, since every kernel uses each a bit."""
    return np.maximum(sensitivities, _LEAST_WEIGHT)


def bound_of(slowdowns: Floats, waves: float, scaling_us: tuple[float, ...]) -> Bound:
    """What limits a kernel: memory, the SMs' work, or neither.

    `slowdowns` beside NEIGHBOURS; `waves`: how often its blocks fill the SMs that it then had.
    The memory neighbour of half strength leaves a part of the bandwidth unused, so it takes none
    from a kernel that needs less than that: who is slowed down needs more. Or it is a kernel of too
    few blocks, which feels the longer way to memory whatever it needs.
    """
    beside = slowdowns[NEIGHBOURS.index(Neighbour(Resource.MEMORY, 0.5))]
    if beside >= MEMORY_COST and waves >= FILLED:
        return Bound.MEMORY
    half = max(len(scaling_us) // 2, 1)
    gain = scaling_us[half - 1] / scaling_us[-1]
    if gain >= COMPUTE_GAIN:
        return Bound.COMPUTE
    return Bound.MEMORY if waves >= MANY_WAVES else Bound.LATENCY
