"""How many GPUs models need: which fit on one together, under `fico` and under MPS, and why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fico.bench.device import Device
from fico.bench.packing import Bin, pack
from fico.bench.plan_file import Demand, Demands
from fico.bench.policy import CAPACITY, OURS
from fico.bench.prediction import Group, best_quotas, predict

_RATE_TRIES = 7


@dataclass(frozen=True, slots=True)
class Refusal:
    """Models that do not fit on one GPU together."""

    models: Bin
    group: Group | None
    """The best that was found; None if their memory, or their number, is too much already."""
    memory_bytes: int
    """Of all of them."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A model that does not fit on a GPU of its own."""

    model: int
    group: Group | None
    """As predicted alone; None if its memory is more than the GPU's."""
    unhurried: Group | None
    """The same at a rate so low that no request waits."""
    rate_rps: float
    """Up to about which rate a GPU of its own would do; 0 if at none."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Models on GPUs, under one policy."""

    policy: str
    gpus: tuple[tuple[Bin, Group], ...]
    refusals: tuple[Refusal, ...]
    """Why it takes more than one: the model that opened a GPU does not fit on those before it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What models need; they are called by their index in the demands."""

    demands: Demands
    alone: dict[int, Group]
    """Each model on a GPU of its own: those that fit there."""
    misfits: tuple[Misfit, ...]
    packing: Packing
    """Under `fico`, of the models that fit alone."""
    mps: Packing
    together_under_mps: tuple[Group, ...]
    """The groups of `packing`, predicted under MPS."""


class Planner:
    """Predicts on a device, and remembers."""

    def __init__(self, demands: Demands, device: Device, unit_count: int, seed: int) -> None:
        self.demands = demands
        self.device = device
        self.unit_count = unit_count
        self.seed = seed
        self._groups: dict[tuple[str, Bin], Group] = {}

    def plan(self) -> Plan:
        """Find the fewest GPUs under `fico` and under MPS."""
        alone: dict[int, Group] = {}
        misfits = []
        for index in range(len(self.demands.models)):
            if self.fits(OURS, (index,)):
                alone[index] = self.group(OURS, (index,))
            else:
                misfits.append(self._misfit(index))
        ours = self._pack(OURS, list(alone))
        return Plan(
            self.demands,
            alone,
            tuple(misfits),
            ours,
            self._pack(CAPACITY, list(alone)),
            tuple(self.group(CAPACITY, models) for models, _ in ours.gpus),
        )

    def fits(self, policy: str, models: Bin) -> bool:
        """Whether models fit on one GPU together."""
        return not self._is_too_much(models) and self.group(policy, models).fits

    def group(self, policy: str, models: Bin) -> Group:
        """Models together, under the quotas that suit them best."""
        key = (policy, models)
        if key not in self._groups:
            self._groups[key] = self._predict(policy, models)
        return self._groups[key]

    def _predict(self, policy: str, models: Bin) -> Group:
        if len(models) == 1 and policy != OURS:
            # Alone everybody has everything, whatever the policy.
            return self.group(OURS, models)
        demands = self._of(models)
        if policy == OURS:
            return best_quotas(demands, policy, self.device, self.unit_count, self.seed)
        none = [0] * len(demands)
        return predict(demands, none, policy, self.device, self.unit_count, self.seed)

    def _pack(self, policy: str, models: list[int]) -> Packing:
        def work(index: int) -> float:
            demand = self.demands.models[index]
            return demand.rate_rps * self.device.alone_us(demand.name)

        order = sorted(models, key=lambda index: (-work(index), index))
        bins = pack(order, lambda content: self.fits(policy, content))
        # The largest model of a GPU is the one that opened it.
        openers = [min(content, key=order.index) for content in bins]
        tried = [
            tuple(sorted((*content, opener)))
            for number, opener in enumerate(openers)
            for content in bins[:number]
        ]
        return Packing(
            policy,
            tuple((content, self.group(policy, content)) for content in bins),
            tuple(
                self._refusal(policy, content)
                for content in tried
                if not self.fits(policy, content)
            ),
        )

    def _refusal(self, policy: str, models: Bin) -> Refusal:
        group = None if self._is_too_much(models) else self.group(policy, models)
        return Refusal(models, group, self._memory(models))

    def _misfit(self, index: int) -> Misfit:
        if self._is_too_much((index,)):
            return Misfit(index, None, None, 0)
        demand = self.demands.models[index]
        unhurried = self._at_rate(demand, 0.001e6 / self.device.alone_us(demand.name))
        lowest, highest = 0.0, demand.rate_rps
        if unhurried.fits:
            for _ in range(_RATE_TRIES):
                middle = (lowest + highest) / 2
                if self._at_rate(demand, middle).fits:
                    lowest = middle
                else:
                    highest = middle
        return Misfit(index, self.group(OURS, (index,)), unhurried, lowest)

    def _at_rate(self, demand: Demand, rate_rps: float) -> Group:
        slower = [replace(demand, rate_rps=rate_rps)]
        return predict(slower, [self.unit_count], OURS, self.device, self.unit_count, self.seed)

    def _is_too_much(self, models: Bin) -> bool:
        """By what needs no prediction."""
        limit = self.demands.gpu_memory_bytes
        return len(models) > self.unit_count or bool(limit and self._memory(models) > limit)

    def _memory(self, models: Bin) -> int:
        return sum(demand.memory_bytes for demand in self._of(models))

    def _of(self, models: Bin) -> list[Demand]:
        return [self.demands.models[index] for index in models]
