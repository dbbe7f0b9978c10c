"""What the collector hands to the analysis: every GPU operation of a measured window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fico.records.gpu import Gpu
from fico.records.profile import Neighbour

KERNEL, COPY, FILL = 0, 1, 2
KIND_NAMES = ("kernel", "copy", "fill")

RAW = np.dtype(
    [
        ("start_ns", "u8"),
        ("end_ns", "u8"),
        ("graph_node", "u8"),
        ("bytes", "u8"),
        ("graph_id", "u4"),
        ("correlation", "u4"),
        ("stream", "u4"),
        ("context", "u4"),
        ("name", "u4"),
        ("grid", "u4", 3),
        ("block", "u4", 3),
        ("cluster", "u4", 3),
        ("static_shared", "u4"),
        ("dynamic_shared", "u4"),
        ("registers", "u2"),
        ("kind", "u1"),
    ],
    align=True,
)
"""One GPU operation, laid out as the collector writes it (native/collector/trace.hpp).

`graph_id` is 0 outside of graphs; `graph_node` tells the nodes of one graph apart. `correlation`
is the number of the call that issued the operation: it rises in the order of the calls, and all
nodes of one graph launch share it. `name` is an index into the window's names. `kind` is KERNEL,
COPY or FILL; copies and fills have `bytes` and neither grid nor block. Shared memory in bytes, a
block; registers a thread. Rows come in order of completion.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What ran while one configuration was measured."""

    operations: NDArray[np.void]
    """One-dimensional, of dtype RAW."""
    names: tuple[str, ...]
    """Mangled names that the operations point into."""
    units: int
    """Size of the program's partition."""
    neighbour: Neighbour | None = None
    """Which neighbour had the other units; None if there was none."""


@dataclass(frozen=True, slots=True)
class NeighbourRates:
    """How fast a neighbour went on its units: work per second, in a unit of its own."""

    alone: float
    beside: float
    """Beside the program."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a program launched kernels or graphs while a window was measured."""

    calls_per_s: float
    """While nothing was traced; NaN where there were too few calls."""
    traced_calls_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """All that was measured of a program."""

    gpu: Gpu
    cuda: str
    program: str
    arguments: tuple[str, ...]
    created: str
    """ISO 8601, UTC."""
    windows: tuple[Window, ...]
    """Several of one configuration are taken together."""
    neighbours: Mapping[Neighbour, NeighbourRates] = field(default_factory=dict)
    paces: tuple[Pace, ...] = ()
    """Of each window; empty: not known."""
