"""Launches of the vision models as a cost model has them, to calibrate with where no profile is.

The layers are those of the architectures; each becomes the kernels that an inference framework
runs for it. A convolution is a matrix product in tiles, other layers move their bytes. The curves
are then scaled so that whole requests take what was measured on each number of SMs, so what is
guessed is only how the time is spread over the kernels, how many blocks they have, what those take
of an SM, and how kernels disturb each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

UNIT_SMS = [8 * n for n in range(1, 16)] + [132]
# One SM of an H200: TF32 tensor operations and bytes of HBM and L2, in a µs, as far as real kernels
# get.
SM_FLOPS = 2.2e6
SM_BYTES = 45e3
HBM_BYTES = 4.0e6
L2_BYTES = 6.0e6
L2_SIZE = 50e6
# The shortest kernel, and what a step of a product's inner loop takes at least.
FLOOR_US = 1.9
STEP_US = 0.25
GAP_US = 0.35
REQUEST_US = 14.0


@dataclass(slots=True)
class Launch:
    """A kernel as `fico.records.profile.Launch` has it, as far as the device model needs it."""

    gap_us: float
    blocks: int
    blocks_per_sm: int
    scaling_us: list[float]
    sensitivity: tuple[float, float, float]
    pressure: tuple[float, float, float]
    block: tuple[int, int, int]
    registers: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a launch asks of the SMs."""

    blocks: int
    blocks_per_sm: int
    threads: int
    registers: int
    shared_bytes: int


def product(rows: int, columns: int, depth: int) -> Launch:
    """A matrix product on the tensor cores."""
    tile_rows, tile_columns, blocks_per_sm = 128, min(128, max(32, columns)), 1
    if math.ceil(rows / 128) * math.ceil(columns / tile_columns) < 132:
        tile_rows, tile_columns, blocks_per_sm = 64, min(64, max(32, columns)), 2
    blocks = math.ceil(rows / tile_rows) * math.ceil(columns / tile_columns)
    parts = 1
    while blocks * parts < 66 and depth / parts > 256:
        parts *= 2
    blocks *= parts
    depth = math.ceil(depth / parts)
    flops = 2.0 * tile_rows * tile_columns * depth
    moved = 4.0 * (rows * depth * parts + columns * depth * parts + rows * columns)
    steps = math.ceil(depth / 32)
    alone_us = FLOOR_US + max(flops / SM_FLOPS, steps * STEP_US)
    full_us = FLOOR_US + max(flops * blocks_per_sm / SM_FLOPS, steps * STEP_US)

    def duration(sms: int) -> float:
        waves = math.ceil(blocks / (blocks_per_sm * sms))
        block_us = alone_us if blocks <= sms else full_us
        return max(waves * block_us, moved / min(L2_BYTES, SM_BYTES * sms))

    threads, shared_bytes = (256, 98304) if tile_rows == 128 else (128, 49152)
    shape = Shape(blocks, blocks_per_sm, threads, 200, shared_bytes)
    return _launch(duration, shape, moved, flops * blocks)


def moving(count: float, arrays: int, effort: float = 1.0) -> Launch:
    """A kernel that goes over arrays of `count` floats."""
    moved = 4.0 * count * arrays
    bandwidth = HBM_BYTES if moved > L2_SIZE else L2_BYTES

    def duration(sms: int) -> float:
        return FLOOR_US + effort * moved / min(bandwidth, SM_BYTES * sms)

    return _launch(duration, Shape(max(1, math.ceil(count / 512)), 16, 128, 28, 0), moved, count)


def _launch(duration: Callable[[int], float], shape: Shape, moved: float, flops: float) -> Launch:
    scaling = [duration(sms) for sms in UNIT_SMS]
    for n in range(1, len(scaling)):
        scaling[n] = min(scaling[n], scaling[n - 1])
    half_us = scaling[7]
    memory = min(1.0, moved / half_us / HBM_BYTES)
    compute = min(1.0, flops / half_us / (SM_FLOPS * 132))
    return Launch(
        GAP_US,
        shape.blocks,
        shape.blocks_per_sm,
        scaling,
        (0.0, 0.16 + 0.64 * memory, 0.0),
        (compute, memory, min(1.0, 0.5 * memory + moved / L2_SIZE * 0.5)),
        (shape.threads, 1, 1),
        shape.registers,
        shape.shared_bytes,
    )


class _Net:
    """Collects the kernels of a network; the state is the image that flows through it."""

    def __init__(self, batch: int) -> None:
        self.batch, self.size, self.channels = batch, 224, 3
        self.launches: list[Launch] = []

    @property
    def count(self) -> int:
        return self.batch * self.size**2 * self.channels

    def conv(self, out: int, kernel: int, stride: int = 1, transforms: int = 0) -> None:
        """A product, and the changes of layout of its input, output and weights."""
        depth = self.channels * kernel**2
        before = self.count
        self.size //= stride
        self.channels = out
        changed = (before, self.count, float(depth * out))[:transforms]
        self.launches += [moving(count, 2) for count in changed]
        self.launches.append(product(self.batch * self.size**2, out, depth))

    def depthwise(self, stride: int) -> None:
        self.size //= stride
        self.launches.append(moving(self.count, 2, 3.0))

    def pointwise(self, *arrays: int) -> None:
        self.launches += [moving(self.count, n) for n in arrays]

    def pool(self, stride: int = 2) -> None:
        self.launches.append(moving(self.count, 1))
        self.size //= stride

    def dense(self, out: int, into: int) -> None:
        self.launches.append(product(self.batch, out, into))


def vgg16(batch: int) -> list[Launch]:
    net = _Net(batch)
    for channels, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convs):
            net.conv(channels, 3, transforms=3)
            net.pointwise(2, 2)
        net.pool()
    for into, out in ((25088, 4096), (4096, 4096), (4096, 1000)):
        net.dense(out, into)
        net.launches += [moving(batch * out, 2), moving(batch * out, 2)]
    return net.launches


def _resnet(batch: int, blocks: Sequence[int]) -> list[Launch]:
    net = _Net(batch)
    net.conv(64, 7, 2, transforms=1)
    net.pointwise(2, 2)
    net.pool()
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for block in range(count):
            stride = 2 if block == 0 and stage else 1
            net.conv(width, 1, transforms=1)
            net.pointwise(2, 2)
            net.conv(width, 3, stride, transforms=1)
            net.pointwise(2, 2)
            net.conv(4 * width, 1, transforms=1)
            net.pointwise(2)
            if block == 0:
                net.conv(4 * width, 1, transforms=1)
                net.pointwise(2)
            net.pointwise(3, 2)
    net.dense(1000, 2048)
    return net.launches


def _mobilenet(batch: int) -> list[Launch]:
    net = _Net(batch)
    net.conv(32, 3, 2)
    net.pointwise(2, 2)
    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    for expand, out, count, first in (*plan, (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(count):
            into = net.channels
            if expand > 1:
                net.conv(expand * into, 1)
                net.pointwise(2, 2)
            net.depthwise(first if block == 0 else 1)
            net.pointwise(2, 2)
            net.conv(out, 1)
            net.pointwise(2)
            if block:
                net.pointwise(3)
    net.conv(1280, 1)
    net.pointwise(2, 2)
    net.pool(7)
    net.dense(1000, 1280)
    return net.launches


def _densenet(batch: int) -> list[Launch]:
    net = _Net(batch)
    net.conv(64, 7, 2)
    net.pointwise(2, 2)
    net.pool()
    channels = 64
    for stage, layers in enumerate((6, 12, 48, 32)):
        for _ in range(layers):
            net.channels = channels
            net.pointwise(2, 2, 2)  # concatenation, normalisation, activation
            net.conv(128, 1, transforms=1)
            net.pointwise(2, 2)
            net.conv(32, 3, transforms=1)
            channels += 32
        if stage < 3:
            net.channels = channels
            net.pointwise(2, 2)
            net.conv(channels // 2, 1)
            net.pool()
            channels //= 2
    net.dense(1000, 1920)
    return net.launches


_MODELS = {
    "vgg16": vgg16,
    "resnet50": lambda batch: _resnet(batch, (3, 4, 6, 3)),
    "resnet101": lambda batch: _resnet(batch, (3, 4, 23, 3)),
    "resnet152": lambda batch: _resnet(batch, (3, 8, 36, 3)),
    "mobilenet_v2": _mobilenet,
    "densenet201": _densenet,
}


def _between(known: Mapping[int, float], sms: int) -> float:
    """Interpolated or, outside of the known points, the nearest one."""
    points = sorted(known)
    if sms <= points[0] or len(points) == 1:
        return known[points[0]]
    for low, high in itertools.pairwise(points):
        if sms <= high:
            part = (sms - low) / (high - low)
            return known[low] * (1 - part) + known[high] * part
    return known[points[-1]]


def trace(model: str, batch: int, latency_us: Mapping[int, float]) -> list[Launch]:
    """The launches of one request, scaled to `latency_us` by number of SMs."""
    launches = _MODELS[model](batch)
    launches[0].gap_us = REQUEST_US
    gaps = sum(launch.gap_us for launch in launches)
    # A model that is all short kernels leaves less than the usual gap between them.
    most = 0.4 * min(latency_us.values())
    if gaps > most:
        for launch in launches:
            launch.gap_us *= most / gaps
        gaps = most
    factors: dict[int, float] = {}
    for sms, whole_us in latency_us.items():
        at = _unit_of(sms)
        modelled = sum(launch.scaling_us[at] for launch in launches)
        factors[UNIT_SMS[at]] = (whole_us - gaps) / modelled
    for launch in launches:
        scaled = [
            us * _between(factors, sms) for us, sms in zip(launch.scaling_us, UNIT_SMS, strict=True)
        ]
        for n in range(len(scaled) - 2, -1, -1):
            scaled[n] = max(scaled[n], scaled[n + 1])
        launch.scaling_us = scaled
    return launches


def _unit_of(sms: int) -> int:
    return min(range(len(UNIT_SMS)), key=lambda n: abs(UNIT_SMS[n] - sms))


def names() -> Iterator[str]:
    """The models that are known."""
    yield from _MODELS
