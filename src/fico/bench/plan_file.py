"""The file of `fico plan`: models, their rates and objectives. Its format is in docs/plan.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from fico.runtime.errors import UsageError
from fico.runtime.profiles import SUFFIX, find_profile
from fico.runtime.quota import parse_size
from fico.runtime.toml_file import line_of, read_toml

FIGURES = ("mean", "p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Objective:
    """A limit on a latency."""

    figure: str
    """One of FIGURES."""
    limit_ms: float


@dataclass(frozen=True, slots=True)
class Demand:
    """A model that has to be served."""

    name: str
    profile: Path
    rate_rps: float
    """Mean rate of its requests, which come as a Poisson process."""
    objectives: tuple[Objective, ...]
    """At least one."""
    memory_bytes: int
    """GPU memory it needs; 0 is not known."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a file asks for."""

    models: tuple[Demand, ...]
    gpu_memory_bytes: int
    """Of one GPU; 0 is not known, and then memory is not looked at."""


def _size(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} must be text in quotes")
    try:
        return parse_size(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


_Size = Annotated[int, PlainValidator(_size)]
_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = None
    profile: str
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    mean_ms: _Limit | None = None
    p50_ms: _Limit | None = None
    p95_ms: _Limit | None = None
    p99_ms: _Limit | None = None
    memory: _Size = 0


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    gpu_memory: _Size = 0
    model: list[_Model] = Field(min_length=1)


def read_demands(path: Path, folders: Sequence[Path] = ()) -> Demands:
    """Read and check a file. UsageError that names the file, the line, the model and the field."""
    file = read_toml(path, _File, "a file of models")
    demands: list[Demand] = []
    for index, entry in enumerate(file.model):
        name = entry.name or entry.profile.removesuffix(SUFFIX)
        if any(demand.name == name for demand in demands):
            raise UsageError(
                f"{line_of(path, 'model', index, 'name')}: two models are named {name!r}",
                "give them different names",
            )
        limits = {figure: getattr(entry, f"{figure}_ms") for figure in FIGURES}
        objectives = tuple(Objective(f, limit) for f, limit in limits.items() if limit is not None)
        if not objectives:
            raise UsageError(
                f"{line_of(path, 'model', index)}: model {name!r} has no objective",
                f"give one or more of {', '.join(f'{figure}_ms' for figure in FIGURES)}",
            )
        if entry.memory and not file.gpu_memory:
            raise UsageError(
                f"{line_of(path, 'model', index, 'memory')}: model {name!r} has memory, and the "
                "GPU has none",
                'write gpu_memory = "141GB" above the models',
            )
        demands.append(
            Demand(
                name, _profile(path, index, entry, folders), entry.rate, objectives, entry.memory
            )
        )
    return Demands(tuple(demands), file.gpu_memory)


def _profile(path: Path, index: int, entry: _Model, folders: Sequence[Path]) -> Path:
    text = entry.profile
    if text.endswith(SUFFIX):
        text = str(path.parent / text)
    try:
        return find_profile(text, folders)
    except UsageError as error:
        where = line_of(path, "model", index, "profile")
        raise UsageError(f"{where}: {error.message}", error.remedy) from None
