"""Requests of realistic shape that nobody measured, for tests of scheduling.

Kernel counts and mean durations are those of the models at batch 8 on an H200.
"""

from __future__ import annotations

import numpy as np

from fico import _native

UNITS = 16
SMS = np.array([8] * 15 + [12])
MODELS = {  # kernels, mean duration in µs, share of kernels that gain from SMs
    "resnet152": (674, 5.9, 0.55),
    "resnet101": (453, 6.2, 0.55),
    "densenet201": (957, 6.1, 0.35),
    "vgg16": (93, 27.0, 0.8),
    "mobilenet_v2": (151, 5.8, 0.4),
}


def synthetic(name: str, seed: int = 0, from_graph: bool = True) -> _native.SimTrace:
    """A request like one of MODELS."""
    kernels, mean_us, scaling = MODELS[name]
    random = np.random.default_rng([seed, *name.encode()])
    scales = random.random(kernels) < scaling
    full_us = np.where(
        scales, random.lognormal(0.5, 0.5, kernels), random.lognormal(-0.3, 0.3, kernels)
    )
    full_us *= mean_us / full_us.mean()
    fixed = np.where(scales, 1.5, 2.2).clip(max=0.7 * full_us)
    useful = np.where(scales, 132, random.integers(8, 60, kernels))  # SMs it can use
    sms = np.cumsum(SMS)
    shape = useful[:, None] / np.minimum(sms[None, :], useful[:, None])
    duration_us = fixed[:, None] + (full_us - fixed)[:, None] * shape
    blocks_per_sm = random.integers(1, 4, kernels).astype(np.uint32)
    waves = np.where(scales, random.integers(1, 5, kernels), 1)
    blocks = np.maximum(1, useful * blocks_per_sm * waves).astype(np.uint32)
    right = (duration_us <= 1.05 * duration_us[:, -1:]).argmax(axis=1) + 1
    gain = duration_us[:, 7] / duration_us[:, -1]
    classes = np.where(gain > 1.3, 1, np.where(gain < 1.1, 2, 0)).astype(np.uint8)
    compute = random.random(kernels) < 0.5
    pressure = np.stack(
        [np.where(compute, 0.8, 0.2), np.where(compute, 0.15, 0.5), np.where(compute, 0.2, 0.4)],
        axis=1,
    )
    sensitivity = np.stack(
        [np.full(kernels, 0.02), np.where(compute, 0.05, 0.3), np.full(kernels, 0.08)], axis=1
    )
    return _native.SimTrace(
        duration_us=np.ascontiguousarray(duration_us),
        gap_us=np.full(kernels, 0.6),
        blocks=blocks,
        blocks_per_sm=blocks_per_sm,
        threads=np.full(kernels, 256, np.uint32),
        registers=np.full(kernels, 64, np.uint32),
        shared_bytes=np.full(kernels, 32768, np.uint32),
        cluster=np.where(random.random(kernels) < 0.2, 4, 1).astype(np.uint32),
        sensitivity=np.ascontiguousarray(sensitivity),
        pressure=np.ascontiguousarray(pressure),
        right_units=right.astype(np.uint32),
        kernel_class=classes,
        bound=np.where(classes == 2, 0, np.where(compute, 1, 2)).astype(np.uint8),
        from_graph=from_graph,
    )


def random_trace(random: np.random.Generator, units: int) -> _native.SimTrace:
    """Any request: 20 to 80 launches, some alike, that scale well, badly or not at all."""
    kernels = int(random.integers(20, 80))
    full_us = random.lognormal(random.uniform(1.0, 2.5), 0.6, kernels)
    fixed_us = full_us * random.uniform(0.05, 0.9, kernels)
    useful = random.integers(1, units + 1, kernels)
    count = np.arange(1, units + 1)
    grows = useful[:, None] / np.minimum(count[None, :], useful[:, None])
    duration_us = fixed_us[:, None] + (full_us - fixed_us)[:, None] * grows
    right = (duration_us <= 1.05 * duration_us[:, -1:]).argmax(axis=1) + 1
    return _native.SimTrace(
        duration_us=np.ascontiguousarray(duration_us),
        gap_us=random.uniform(0.3, 3.0, kernels),
        blocks=(useful * 8 * random.integers(1, 5, kernels)).astype(np.uint32),
        blocks_per_sm=random.integers(1, 5, kernels).astype(np.uint32),
        threads=np.full(kernels, 256, np.uint32),
        registers=np.full(kernels, 32, np.uint32),
        shared_bytes=np.zeros(kernels, np.uint32),
        cluster=2 ** random.integers(0, 4, kernels).astype(np.uint32),
        sensitivity=random.uniform(0, 0.3, (kernels, 3)),
        pressure=random.uniform(0, 0.8, (kernels, 3)),
        right_units=right.astype(np.uint32),
        kernel_class=random.integers(0, 3, kernels).astype(np.uint8),
        bound=random.integers(0, 3, kernels).astype(np.uint8),
        from_graph=bool(random.random() < 0.7),
    )
