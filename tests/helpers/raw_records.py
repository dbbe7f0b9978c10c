"""Programs that are made up, and the raw records that a collector would give of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fico.profiling.records import COPY, KERNEL, RAW, Measurement, NeighbourRates, Window
from fico.records.gpu import Gpu
from fico.records.profile import NEIGHBOURS, Neighbour, Resource

H200 = Gpu(0, "GPU-0", "NVIDIA H200", "580.1", (8,) * 15 + (12,))
UNIT_SMS = tuple(np.cumsum(H200.sms_per_unit).tolist())


@dataclass(frozen=True)
class Step:
    """One operation of a request: `fixed_us` and its waves."""

    name: str
    blocks: int = 132
    wave_us: float = 5.0
    fixed_us: float = 2.0
    threads: int = 1024
    stream: int = 0
    gap_us: float = 1.0
    kind: int = KERNEL
    size: int = 0
    felt: Mapping[Resource, float] = field(default_factory=dict)
    """How much a full neighbour slows it down; one that writes does twice as much."""

    def alone_us(self, sms: int) -> float:
        """2 blocks of 1024 threads fit an SM."""
        if self.kind != KERNEL:
            return self.fixed_us
        fits = 2048 // self.threads
        return self.fixed_us + self.wave_us * math.ceil(self.blocks / (fits * sms))

    def beside_us(self, sms: int, neighbour: Neighbour | None) -> float:
        alone_us = self.alone_us(sms)
        if neighbour is None:
            return alone_us
        felt = self.felt.get(neighbour.resource, 0.0) * (2 if neighbour.writes else 1)
        return alone_us * (1 + felt * neighbour.strength)


@dataclass(frozen=True)
class Call:
    """One request: its operations, as one graph or one by one, and the idle time after it."""

    steps: tuple[Step, ...]
    graph: bool = False
    idle_us: float = 20.0


@dataclass
class Recorder:
    """Plays calls one after another on a GPU without limits other than the streams' order."""

    sms: int
    neighbour: Neighbour | None = None
    seed: int = 0
    jitter: float = 0.02
    gap_jitter: float = 0.3
    pace_us: float = 0.0
    """Time that the program takes to issue a launch."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._now_us = 1000.0
        self._correlation = 1
        self._graph = 1
        self._rows: list[tuple[Any, ...]] = []
        self._names: dict[str, int] = {}

    def play(self, calls: Iterable[Call]) -> Recorder:
        for call in calls:
            self._play(call)
        return self

    def window(self, first: int = 0, last: int | None = None) -> Window:
        """What was recorded; without the operations before `first` and from `last` on."""
        rows: NDArray[np.void] = np.array(sorted(self._rows, key=lambda row: row[1]), dtype=RAW)[
            first:last
        ]
        units = UNIT_SMS.index(self.sms) + 1
        return Window(rows, tuple(self._names), units, self.neighbour)

    def _play(self, call: Call) -> None:
        ends: dict[int, float] = {}
        self._graph += call.graph
        for index, step in enumerate(call.steps):
            gap_us = step.gap_us * (1 + self.gap_jitter * self._random.random())
            start_us = ends.get(step.stream, self._now_us) + gap_us
            start_us = max(start_us, self._now_us + index * self.pace_us)
            length_us = step.beside_us(self.sms, self.neighbour)
            length_us *= 1 + self.jitter * abs(self._random.gauss(0, 1))
            ends[step.stream] = start_us + length_us
            self._correlation += 1 if not call.graph or index == 0 else 0
            self._record(step, start_us, length_us, index, call.graph)
        self._now_us = max(ends.values(), default=self._now_us) + call.idle_us

    def _record(
        self, step: Step, start_us: float, length_us: float, index: int, graph: bool
    ) -> None:
        is_kernel = step.kind == KERNEL
        self._rows.append(
            (
                round(start_us * 1e3),
                round((start_us + length_us) * 1e3),
                100 * self._graph + index if graph else 0,
                step.size,
                self._graph if graph else 0,
                self._correlation,
                7 + step.stream,
                1,
                self._names.setdefault(step.name, len(self._names)),
                (step.blocks, 1, 1) if is_kernel else (0, 0, 0),
                (step.threads, 1, 1) if is_kernel else (0, 0, 0),
                (1, 1, 1),
                0,
                0,
                32 if is_kernel else 0,
                step.kind,
            )
        )


def network(layers: int, *, width: int = 400, name: str = "conv") -> tuple[Step, ...]:
    """A request like that of a convolutional network: a head, equal layers, a tail."""
    memory = {Resource.MEMORY: 0.4, Resource.L2: 0.2}
    layer = (
        Step(f"{name}_gemm", blocks=width, wave_us=8.0, felt={Resource.COMPUTE: 0.0}),
        Step(f"{name}_norm", blocks=width // 4, wave_us=3.0, felt=memory),
        Step(f"{name}_relu", blocks=width // 20, wave_us=1.0),
    )
    return (
        Step("copy_in", kind=COPY, size=1500 * width, fixed_us=4.0),
        Step("head", blocks=width // 2, wave_us=6.0),
        *(layer * layers),
        Step("tail", blocks=8, wave_us=4.0),
    )


def decoder_step(context: int, layers: int = 4) -> tuple[Step, ...]:
    """A decoding step: attention and its cache grow with the context, the rest stays."""
    layer = (
        Step("qkv", blocks=96),
        Step("cache", blocks=context, threads=128, wave_us=1.0),
        Step("attention", blocks=4 * context, threads=256, wave_us=2.0),
        Step("project", blocks=32),
        Step("up", blocks=128),
        Step("gelu", blocks=64, wave_us=1.0),
        Step("down", blocks=33),
        Step("norm", blocks=1, wave_us=1.0),
    )
    return (*(layer * layers), Step("argmax", blocks=1), Step("token_out", kind=COPY, size=8))


def closed_loop(
    steps: tuple[Step, ...], count: int, *, graph: bool = False, idle_us: float = 20.0
) -> list[Call]:
    return [Call(steps, graph, idle_us)] * count


def in_turn(calls: Sequence[Call], count: int) -> list[Call]:
    return list(islice(cycle(calls), count))


def measurement(
    calls: Sequence[Call],
    units: Sequence[int] = (1, 2, 4, 6, 8, 10, 12, 14, 16),
    *,
    neighbours: bool = True,
    seed: int = 0,
    pace_us: float = 0.0,
) -> Measurement:
    """All windows of a program, and neighbours that lose a third of memory bandwidth to it."""
    windows = [
        Recorder(UNIT_SMS[count - 1], seed=seed + count, pace_us=pace_us).play(calls).window()
        for count in units
    ]
    rates = {}
    if neighbours:
        for index, neighbour in enumerate(NEIGHBOURS):
            recorder = Recorder(UNIT_SMS[7], neighbour, seed=seed + 100 + index)
            windows.append(recorder.play(calls).window())
            lost = 0.3 if neighbour.resource == Resource.MEMORY else 0.02
            lost *= 2 if neighbour.writes else 1
            rates[neighbour] = NeighbourRates(100.0, 100.0 * (1 - lost * neighbour.strength))
    return Measurement(
        gpu=H200,
        cuda="13.0",
        program="serve.py",
        arguments=("--batch", "8"),
        created="2026-01-01T00:00:00Z",
        windows=tuple(windows),
        neighbours=rates,
    )
