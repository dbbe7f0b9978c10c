"""The simulator as a device: virtual time, on what profiles say of the models."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from fico import _native, sim
from fico.bench.device import LONGEST_WINDOWS, Job, Outcome, Served, any_open, left_behind
from fico.bench.policy import Policy
from fico.records.gpu import Gpu
from fico.records.profile import Profile
from fico.runtime import profile_file
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.policies import check_settings, policy_settings
from fico.runtime.profiles import find_profile
from fico.runtime.traces import traces_of

_MIX_LENGTH = 64


@dataclass(frozen=True, slots=True)
class _Program:
    """A profiled program, ready to run."""

    gpu: Gpu
    traces: tuple[_native.SimTrace, ...]
    trace_of_request: tuple[int, ...]
    alone_us: float


@dataclass(frozen=True)
class SimDevice:
    """Runs cells in virtual time. Profiles are read where they are needed, once a process."""

    profiles: Mapping[str, Path]
    """By the names that jobs call models by."""
    gpu: str
    unit_count: int
    name: str = "sim"
    most_workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    @classmethod
    def of(cls, models: Iterable[str], folders: Sequence[Path] = ()) -> SimDevice:
        """For cells of these models. UsageError for a missing profile, or those of two GPUs."""
        return cls.of_files({model: find_profile(model, folders) for model in models})

    @classmethod
    def of_files(cls, profiles: Mapping[str, Path]) -> SimDevice:
        """For cells of models whose profiles are given. FicoError where one cannot be read."""
        gpus = {path: _program(path).gpu for path in profiles.values()}
        first, *rest = gpus
        for path in rest:
            if gpus[path].sms_per_unit != gpus[first].sms_per_unit:
                raise UsageError(
                    f"{path} is of another GPU ({gpus[path].name}) than {first} "
                    f"({gpus[first].name})",
                    "give profiles of one GPU",
                )
        return cls(dict(profiles), gpus[first].name, len(gpus[first].sms_per_unit))

    def alone_us(self, model: str) -> float:
        """Mean latency of a request alone, as profiled."""
        return _program(self.profiles[model]).alone_us

    def check(self, policy: Policy) -> None:
        """UsageError for a policy or a setting that the simulator does not have."""
        known = policy_settings()
        if policy.name not in known:
            raise UsageError(
                f"the simulator has no policy {policy.name}", f"choose from {', '.join(known)}"
            )
        check_settings(policy.name, dict(policy.settings), known[policy.name])

    def run(self, job: Job) -> Outcome:
        """Run a job; the same job gives the same outcome, bit for bit."""
        programs = [_program(self.profiles[load.model]) for load in job.tenants]
        tenants = [
            sim.Tenant(
                program.traces,
                # Down to a millionth: thirds do not add up to more than the whole.
                math.floor(load.quota_pct * 1e4 + 1e-3) / 1e6,
                None if load.arrivals_us is None else load.arrivals_us.tolist(),
                # Beside open loops closed ones go on until those have ended.
                requests=0 if any_open(job) else 2**62,
                trace_of_request=program.trace_of_request,
            )
            for program, load in zip(programs, job.tenants, strict=True)
        ]
        try:
            result = sim.simulate(
                tenants,
                job.policy.name,
                dict(job.policy.settings),
                sms_per_unit=programs[0].gpu.sms_per_unit,
                seed=job.seed,
                until_us=job.window_us * (LONGEST_WINDOWS if any_open(job) else 1),
            )
        except ValueError as error:
            raise FicoError(f"the simulator refuses {job.policy}: {error}") from None
        served = tuple(
            Served(tenant.arrival_us, tenant.end_us, tenant.sm_time_us) for tenant in result.tenants
        )
        return Outcome(served, tuple(left_behind(job, served)))


@lru_cache(maxsize=64)
def _program(path: Path) -> _Program:
    profile = profile_file.load(path)
    weights = _weights(profile)
    latencies_us = np.array([trace.latency_us[-1] for trace in profile.traces])
    return _Program(
        profile.gpu,
        tuple(traces_of(profile)),
        mixed(profile),
        float(np.average(latencies_us, weights=weights)),
    )


def mixed(profile: Profile) -> tuple[int, ...]:
    """Kinds of requests in turn, as often as they were seen: the one most behind comes next.

    Empty for one kind.
    """
    weights = _weights(profile)
    shares = weights / weights.sum()
    if len(shares) == 1:
        return ()
    given = np.zeros(len(shares))
    sequence = []
    for turn in range(1, _MIX_LENGTH + 1):
        kind = int(np.argmax(shares * turn - given))
        given[kind] += 1
        sequence.append(kind)
    return tuple(sequence)


def _weights(profile: Profile) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([max(1, trace.requests) for trace in profile.traces], dtype=np.float64)
