"""A plan for people: a table of the GPUs, and why it is not fewer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from fico.bench.packing import MOST_EXACT
from fico.bench.plan import Misfit, Plan, Refusal
from fico.bench.prediction import Group, Served
from fico.runtime.quota import format_size


def title(plan: Plan, gpu: str) -> str:
    """The answer."""
    count = len(plan.alone)
    if count == 0:
        return f"no model fits on a GPU of its own ({gpu})"
    ours, mps = len(plan.packing.gpus), len(plan.mps.gpus)
    about = "" if count <= MOST_EXACT else ", found by first fit"
    return (
        f"{count} of {count + len(plan.misfits)} models fit on {_gpus(ours)} ({gpu}){about}: "
        f"one model a GPU takes {count}, MPS {mps}"
    )


def gpu_table(plan: Plan) -> Table:
    """A line a model: its quota, and its latency here, on a GPU of its own, and under MPS."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("GPU", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("quota", "rate/s", "mean ms", "objective", "here", "alone", "under MPS"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, ((models, group), under_mps) in enumerate(
        zip(plan.packing.gpus, plan.together_under_mps, strict=True), 1
    ):
        for place, (model, one) in enumerate(zip(models, group.served, strict=True)):
            demand = plan.demands.models[model]
            figure = one.objective.figure
            table.add_row(
                "" if place else str(number),
                demand.name,
                f"{one.units}u",
                f"{demand.rate_rps:g}",
                f"{one.metrics.mean_ms:.2f}",
                f"{figure} {one.objective.limit_ms:g} ms",
                _latency(one, figure),
                _latency(plan.alone[model].served[0], figure),
                _latency(under_mps.served[place], figure),
            )
    return table


def explanations(plan: Plan) -> Iterator[str]:
    """Why models do not fit together, or not at all."""
    for misfit in plan.misfits:
        yield _explain_misfit(plan, misfit)
    for refusal in plan.packing.refusals:
        yield _explain_refusal(plan, refusal)


def _explain_refusal(plan: Plan, refusal: Refusal) -> str:
    names = [plan.demands.models[model].name for model in refusal.models]
    together = f"{' + '.join(names)} do not fit on one GPU"
    if refusal.group is None:
        limit = plan.demands.gpu_memory_bytes
        if limit and refusal.memory_bytes > limit:
            need = format_size(refusal.memory_bytes)
            return f"{together}: they need {need} of memory, and it has {format_size(limit)}"
        return f"{together}: there are more models than units of its SMs"
    quotas = "/".join(str(one.units) for one in refusal.group.served)
    return f"{together}: with {quotas} units {_worst(names, refusal.group)}"


def _explain_misfit(plan: Plan, misfit: Misfit) -> str:
    demand = plan.demands.models[misfit.model]
    lead = f"{demand.name} does not fit on a GPU of its own"
    if misfit.group is None or misfit.unhurried is None:
        need, limit = format_size(demand.memory_bytes), format_size(plan.demands.gpu_memory_bytes)
        return f"{lead}: it needs {need} of memory, and the GPU has {limit}"
    if not misfit.unhurried.fits:
        worst = _worst([demand.name], misfit.unhurried)
        return f"{lead}, even when no request waits: {worst}; raise the limit or make it smaller"
    copies = math.ceil(demand.rate_rps / misfit.rate_rps) if misfit.rate_rps else 0
    remedy = (
        f"up to about {misfit.rate_rps:.3g} requests/s it would: make it {copies} models of "
        f"{demand.rate_rps / copies:.4g}/s each"
        if copies
        else "lower its rate or raise the limit"
    )
    return f"{lead}: {_worst([demand.name], misfit.group)}; {remedy}"


def _worst(names: list[str], group: Group) -> str:
    name, one = max(zip(names, group.served, strict=True), key=lambda pair: pair[1].strain)
    if math.isinf(one.strain):
        return f"requests of {name} come faster than they are served"
    figure, limit_ms = one.objective.figure, one.objective.limit_ms
    return f"the {figure} of {name} is {_ms(one, figure):.2f} ms, over its {limit_ms:g} ms"


def _latency(one: Served, figure: str) -> str:
    if math.isinf(one.strain):
        return "overloaded"
    return f"{_ms(one, figure):.2f}{' (over)' if one.strain > 1 else ''}"


def _ms(one: Served, figure: str) -> float:
    value: float = getattr(one.metrics, f"{figure}_ms")
    return value


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def plan_json(plan: Plan, gpu: str) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "gpu": gpu,
        "gpus": [
            [
                {
                    "name": plan.demands.models[model].name,
                    "quota_units": one.units,
                    "rate_rps": plan.demands.models[model].rate_rps,
                    "mean_ms": _rounded(one.metrics.mean_ms),
                    "p50_ms": _rounded(one.metrics.p50_ms),
                    "p95_ms": _rounded(one.metrics.p95_ms),
                    "p99_ms": _rounded(one.metrics.p99_ms),
                }
                for model, one in zip(models, group.served, strict=True)
            ]
            for models, group in plan.packing.gpus
        ],
        "gpus_one_each": len(plan.alone),
        "gpus_under_mps": len(plan.mps.gpus),
        "misfits": [plan.demands.models[misfit.model].name for misfit in plan.misfits],
        "explanations": list(explanations(plan)),
    }


def _rounded(value: float) -> float:
    return round(value, 6)
