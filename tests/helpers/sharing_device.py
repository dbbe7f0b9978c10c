"""A device with a closed form: requests of given lengths that share one GPU as a fluid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fico.bench.cell import parse_model
from fico.bench.device import Job, Outcome, Served
from fico.bench.policy import Policy
from fico.runtime.errors import UsageError

ALONE_US = {
    "mobilenet_v2": 400.0,
    "vgg16": 2500.0,
    "resnet101": 2900.0,
    "resnet152": 4100.0,
    "densenet201": 6100.0,
}


@dataclass(frozen=True)
class SharingDevice:
    """Tenants serve one request at a time; those that are busy share the GPU.

    `static`: each has its quota, whatever the others do. `fico`: quotas are shares of what is
    there, and nothing is lost. Every other policy: equal parts.
    """

    name: str = "sharing"
    gpu: str = "a fluid"
    most_workers: int = 2
    alone: dict[str, float] = field(default_factory=lambda: dict(ALONE_US))

    def alone_us(self, model: str) -> float:
        known = parse_model(model)
        if known.name not in self.alone:
            raise UsageError(f"there is no profile of {model}", "profile it")
        return self.alone[known.name] * (0.5 + known.batch / 16)

    def check(self, policy: Policy) -> None:
        pass

    def run(self, job: Job) -> Outcome:
        count = len(job.tenants)
        length_us = [self.alone_us(tenant.model) for tenant in job.tenants]
        rng = np.random.default_rng(job.seed)
        queues = [
            [float(rng.random() * length_us[i])]
            if load.arrivals_us is None
            else [float(t) for t in load.arrivals_us]
            for i, load in enumerate(job.tenants)
        ]
        left = [0.0] * count
        served: list[list[tuple[float, float]]] = [[] for _ in range(count)]
        now = 0.0
        while True:
            busy = [bool(queue) and queue[0] <= now for queue in queues]
            rates = self._rates(job, busy)
            waiting = [queue[0] for queue, b in zip(queues, busy, strict=True) if queue and not b]
            following = min(waiting, default=math.inf)
            ends = [
                now + (left[i] or length_us[i]) / rates[i] if busy[i] else math.inf
                for i in range(count)
            ]
            if all(load.arrivals_us is None for load in job.tenants):
                following = min(following, job.window_us)
            then = min([following, *ends])
            if then == math.inf or self._is_over(job, queues, then):
                break
            for i in range(count):
                if busy[i]:
                    left[i] = (left[i] or length_us[i]) - (then - now) * rates[i]
                    if ends[i] == then:
                        left[i] = 0.0
                        served[i].append((queues[i].pop(0), then))
                        if job.tenants[i].arrivals_us is None:
                            queues[i].append(then)
            now = then
        return Outcome(tuple(self._served(one) for one in served))

    def _rates(self, job: Job, busy: list[bool]) -> list[float]:
        quotas = [load.quota_pct / 100 for load in job.tenants]
        if job.policy.name == "static":
            return quotas
        if job.policy.name == "fico":
            whole = sum(q for q, b in zip(quotas, busy, strict=True) if b)
            return [q / whole if whole else 1.0 for q in quotas]
        return [1 / max(1, sum(busy))] * len(quotas)

    @staticmethod
    def _is_over(job: Job, queues: list[list[float]], then: float) -> bool:
        return then >= job.window_us and not any(
            queue
            for queue, load in zip(queues, job.tenants, strict=True)
            if load.arrivals_us is not None
        )

    @staticmethod
    def _served(requests: list[tuple[float, float]]) -> Served:
        both = np.array(requests).reshape(-1, 2)
        return Served(both[:, 0], both[:, 1], None)
