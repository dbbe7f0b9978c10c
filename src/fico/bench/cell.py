"""What is measured: a cell is a set of tenants on one GPU under one workload."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fico.bench.workload import check_workload
from fico.runtime.errors import UsageError

MODES = ("graph", "eager")
_MODEL = re.compile(r"(?P<name>\w[\w.]*)(-bs(?P<batch>[1-9]\d*)(-(?P<mode>graph|eager))?)?")


@dataclass(frozen=True, slots=True)
class Model:
    """A model at one batch size, issued kernel by kernel (eager) or as CUDA graphs."""

    name: str
    batch: int = 1
    mode: str = "graph"

    def __str__(self) -> str:
        return f"{self.name}-bs{self.batch}-{self.mode}"


def parse_model(text: str) -> Model:
    """Read `vgg16-bs32-eager`; `vgg16-bs32` is a graph, `vgg16` at batch 1. UsageError."""
    match = _MODEL.fullmatch(text)
    if match is None:
        raise UsageError(
            f"model {text!r} is not understood",
            f"write NAME-bsBATCH or NAME-bsBATCH-MODE, with MODE {' or '.join(MODES)}",
        )
    return Model(match["name"], int(match["batch"] or 1), match["mode"] or "graph")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One program of a cell."""

    model: Model
    quota_pct: float
    workload: str
    """A name of `fico.bench.workload`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Tenants that share one GPU, and how their requests come."""

    tenants: tuple[Tenant, ...]

    @classmethod
    def of(cls, models: Sequence[str], quotas_pct: Sequence[float], workload: str) -> Cell:
        """A cell from words. `workload` is for all tenants, or one each: `medium+closed`.

        No quotas are equal quotas. UsageError for what makes no sense.
        """
        if not models:
            raise UsageError("a cell without models measures nothing", "give at least one model")
        quotas = quotas_pct or [100 / len(models)] * len(models)
        if len(quotas) != len(models):
            raise UsageError(
                f"{len(quotas)} quotas for {len(models)} models", "give one quota for each model"
            )
        for quota in quotas:
            if not 0 < quota <= 100:
                raise UsageError(f"quota {quota:g}% is out of range", "give more than 0, up to 100")
        if sum(quotas) > 100 + 1e-9:
            numbers = " + ".join(f"{quota:g}" for quota in quotas)
            raise UsageError(
                f"quotas add up to {sum(quotas):g}% ({numbers})", "make them at most 100% together"
            )
        words = workload.split("+")
        for word in words:
            check_workload(word)
        if len(words) == 1:
            words *= len(models)
        if len(words) != len(models):
            raise UsageError(
                f"workload {workload!r} is for {len(words)} tenants and the cell has {len(models)}",
                "give one workload for all, or one for each joined by +",
            )
        parts = zip(models, quotas, words, strict=True)
        return cls(tuple(Tenant(parse_model(m), quota, w) for m, quota, w in parts))

    @property
    def workload(self) -> str:
        """The word for all tenants, or one each joined by +."""
        words = [tenant.workload for tenant in self.tenants]
        return words[0] if len(set(words)) == 1 else "+".join(words)

    @property
    def models(self) -> tuple[Model, ...]:
        """The tenants' models, in order."""
        return tuple(tenant.model for tenant in self.tenants)

    @property
    def name(self) -> str:
        """Unique, readable, and good as a file's name."""
        models = "+".join(
            f"{count}x{model}" if count > 1 else model
            for model, count in ((m, len(list(same))) for m, same in groupby(map(str, self.models)))
        )
        quotas = "+".join(f"{tenant.quota_pct:.6g}" for tenant in self.tenants)
        equal = all(tenant.quota_pct == 100 / len(self.tenants) for tenant in self.tenants)
        return file_name("_".join([models, *([] if equal else [quotas]), self.workload]))

    def to_json(self) -> list[dict[str, Any]]:
        """One object a tenant."""
        return [
            {"model": str(t.model), "quota_pct": t.quota_pct, "workload": t.workload}
            for t in self.tenants
        ]

    @classmethod
    def from_json(cls, tenants: list[dict[str, Any]]) -> Cell:
        """Read what to_json gave. KeyError, TypeError or UsageError if it is something else."""
        return cls(
            tuple(
                Tenant(parse_model(t["model"]), float(t["quota_pct"]), str(t["workload"]))
                for t in tenants
            )
        )


def file_name(text: str) -> str:
    """The text where it is a file's name already; else what is left of it, and a digest."""
    safe = re.sub(r"[^\w.+@=,-]", "-", text)[-180:].lstrip(".-")
    if safe == text:
        return text
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
