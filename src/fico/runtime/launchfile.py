"""The file of `fico launch`: several tenants of one GPU. Its format is in docs/launch.md."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from fico.runtime.errors import FicoError, UsageError
from fico.runtime.policies import check_policy
from fico.runtime.quota import NO_QUOTA, Quota, parse_quota, parse_size
from fico.runtime.tenant import TenantSpec, check_name
from fico.runtime.toml_file import line_of, read_toml


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What a launch file asks for."""

    gpu: str | None
    policy: str | None
    settings: dict[str, float] | None
    """Of the policy; None: whatever it has."""
    tenants: tuple[TenantSpec, ...]


def _reader(parse: Callable[[str], Any]) -> PlainValidator:
    """A field that is written as text and read by one of our own parsers."""

    def read(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} must be text in quotes")
        try:
            return parse(value)
        except FicoError as error:
            raise ValueError(str(error)) from None

    return PlainValidator(read)


def _name(text: str) -> str:
    check_name(text)
    return text


def _policy(text: str) -> str:
    check_policy(text)
    return text


def _command(value: object) -> object:
    """A line is split as a shell splits it, without being run by one."""
    return shlex.split(value) if isinstance(value, str) else value


class _Tenant(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    command: Annotated[list[str], BeforeValidator(_command), Field(min_length=1)]
    name: Annotated[str | None, _reader(_name)] = None
    quota: Annotated[Quota, _reader(parse_quota)] = NO_QUOTA
    memory: Annotated[int, _reader(parse_size)] = 0
    priority: int = 0
    profiles: list[str] = []
    cwd: str = "."
    env: dict[str, str] = {}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    gpu: str | int | None = None
    policy: Annotated[str | None, _reader(_policy)] = None
    settings: dict[str, float] | None = None
    timeline: str | None = None
    tenant: Annotated[list[_Tenant], Field(min_length=1)]


def read_launch_file(path: Path) -> LaunchPlan:
    """Read and check a file. UsageError that names the file, the line, the tenant and the field."""
    file = read_toml(path, _File, "a launch file")
    names = [tenant.name for tenant in file.tenant if tenant.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two tenants are named {name!r}", "rename one of them")
    if file.settings is not None:
        _check_settings(path, file.policy, file.settings)
    folder = path.absolute().parent
    timeline = None if file.timeline is None else folder / file.timeline
    return LaunchPlan(
        gpu=None if file.gpu is None else str(file.gpu),
        policy=file.policy,
        settings=file.settings,
        tenants=tuple(_spec(tenant, folder, timeline) for tenant in file.tenant),
    )


def _check_settings(path: Path, policy: str | None, settings: dict[str, float]) -> None:
    where = line_of(path, "", None, "settings")
    if policy is None:
        raise UsageError(f"{where}: settings belong to a policy", "name it: policy = ...")
    try:
        check_policy(policy, settings)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.remedy) from None


def _spec(tenant: _Tenant, folder: Path, timeline: Path | None) -> TenantSpec:
    return TenantSpec(
        command=tuple(tenant.command),
        name=tenant.name,
        quota=tenant.quota,
        memory_bytes=tenant.memory,
        priority=tenant.priority,
        environment=tenant.env,
        folder=str(folder / tenant.cwd),
        profiles=tuple(folder / profile for profile in tenant.profiles),
        timeline=timeline,
    )
