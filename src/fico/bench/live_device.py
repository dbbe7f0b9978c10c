"""Real processes as a device: on a GPU, or on the emulated one in dilated real time."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fico import _native
from fico.bench.clocks import ClockWatch
from fico.bench.device import LONGEST_WINDOWS, Job, Load, Outcome, Served, any_open, left_behind
from fico.bench.emulated_program import program_of
from fico.bench.policy import CAPACITY, Policy
from fico.bench.policy import POLICIES as ALL
from fico.bench.served_profiles import emulated_profiles, usable_profiles
from fico.bench.server_pool import ServerPool, tenant_name
from fico.bench.server_process import ServerProcess
from fico.bench.sim_device import SimDevice
from fico.runtime import profile_file
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.gpus import EMULATED, find_gpu, selected_gpu
from fico.runtime.lock import sessions_locked
from fico.runtime.policies import check_settings, live_policies, live_settings
from fico.runtime.profiles import find_profile
from fico.runtime.session import arena_errors, end_session, ensure_session, known_session
from fico.runtime.tenant import make_timeline_folder

SESSION_POLICIES = tuple(name for name in ALL if name in live_policies())
"""Policies of Fico's session."""
POLICIES = {
    "cuda": tuple(ALL),
    EMULATED: SESSION_POLICIES,
}
"""What each device can run."""
WITHOUT_PROFILES = ("mps", "mps-quota", "static", "timeslice")
"""Those that do not ask what a kernel is."""
DILATION = 20.0
"""Of the emulated GPU, where FICO_EMULATED_DILATION says nothing else."""

_PERCENT = "percent_of_quota"
_SOME_US = 1000.0
_WARM_UP_US = 150_000.0
_MOST_WARM_UPS = 4
"""Another one as long as something was built in the last. On the emulated GPU, where each takes
seconds, only one."""
_PLAIN = ("mps", "mps-quota", "timeslice")
_CORES_EACH = 2
_ALONE_S = 0.3
_LEAD_S = 0.02
_ANSWERS_WITHIN_S = 60.0
_BUILT = "graphs_rebuilt"
_FALL_BACKS = ("open_", "driver_errors", "unscheduled_", "unsegmented_", "near_")
_NODES = 200_000
"""Of instances of graphs that a server may keep: see `_room`."""


class LiveDevice:
    """Runs jobs on servers that it keeps from job to job. To be used by `with`, in one process."""

    most_workers = 1

    def __init__(
        self,
        name: str,
        models: Iterable[str],
        folders: Sequence[Path] = (),
        timeline: Path | None = None,
    ) -> None:
        """For cells of these models. UsageError for a missing profile, where they are needed.

        `timeline`: where the servers record what is decided. FicoError if they can't.
        """
        self.name = name
        self.timeline = timeline
        if timeline is not None:
            make_timeline_folder(timeline)
        self._models = tuple(models)
        self._profiles: SimDevice | None = None
        if name == EMULATED:
            self._selector = EMULATED
            self._profiles = SimDevice.of(self._models, folders)
            self._programs = {
                model: program_of(model, profile_file.load(find_profile(model, folders)))
                for model in self._models
            }
            self._dilation = _dilation()
        else:
            self._selector = selected_gpu(None)
            self._dilation = 1.0
            if self._selector == EMULATED:
                raise UsageError("FICO_GPU says emulated", "use --device emulated")
        gpu = find_gpu(self._selector)
        self.gpu = gpu.name
        self.unprofiled: dict[str, str] = {}
        """Models that are served without a profile, and why."""
        self._files: list[Path] = []
        if self._profiles is None:
            self._files, self.unprofiled = usable_profiles(self._models, folders, gpu)
        self._alone_us: dict[str, float] = {}

    def __enter__(self) -> LiveDevice:
        """Start the session. FicoError if there is one with tenants: nobody else may be there."""
        there = known_session(self._selector)
        if there is not None:
            end_session(there, force=False)
        self._folder = tempfile.TemporaryDirectory(prefix="fico-bench-")
        nowhere = Path(self._folder.name) / "no-mps"
        nowhere.mkdir()
        self._nowhere = nowhere
        try:
            command = self._command()
            with sessions_locked():
                self._session, self._arena, _ = ensure_session(self._selector, CAPACITY)
            if self._profiles is not None:
                self._files = emulated_profiles(
                    self._profiles.profiles, self._session.gpu, Path(self._folder.name)
                )
        except BaseException:
            self._folder.cleanup()
            raise
        options = [word for file in self._files for word in ("--profile", str(file))]
        self._pool = ServerPool(self._session, command, self._settings(), options)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _undisturbed():
            self._pool.close()
            end_session(self._session, force=True)
            self._folder.cleanup()

    def _command(self) -> list[str]:
        python = [sys.executable, "-P", "-m"]
        if self.name != EMULATED:
            return [*python, "fico.bench.programs.torch_server", *self._models]
        file = Path(self._folder.name) / "programs.json"
        file.write_text(json.dumps(self._programs))
        return [*python, "fico.bench.programs.emulated_server", str(file)]

    def _room(self) -> dict[str, str]:
        """As much as no policy fills alone.

        A server has what every policy has asked for, turn after turn: none is to find another's
        partitions, or to have its graphs built anew each time.
        """
        units = len(self._session.gpu.sms_per_unit)
        ranges = units * (units + 1) // 2
        return {"FICO_PARTITIONS": str(ranges), "FICO_GRAPH_NODES": str(_NODES)}

    def _settings(self) -> dict[str, str]:
        settings = self._room()
        if self.timeline is not None:
            settings["FICO_TIMELINE"] = str(self.timeline.absolute())
        if self.name == EMULATED:
            settings["FICO_EMULATED_DILATION"] = f"{self._dilation:g}"
        return settings

    def starting_s(self, jobs: Iterable[Job]) -> float:
        """About how long `prepare` takes."""
        return 0.0 if all(map(self._is_prepared, jobs)) else self._pool.start_s

    def _is_prepared(self, job: Job) -> bool:
        if job.policy.name == "timeslice":
            return self._pool.has_plain(len(job.tenants))
        if job.policy.name == "mps-quota":
            return self._pool.has_capped(_percentages(job))
        return self._pool.has_tenants(len(job.tenants))

    def prepare(self, jobs: Iterable[Job]) -> None:
        """Start the servers that these jobs need and that are not there, all at the same time."""
        for job in jobs:
            self._servers(job)
        self._pool.await_ready()

    def warm_up_s(self, job: Job) -> float:
        """How long a job, or a round of it, takes before its window."""
        return self.real_s(_warm_up_us(job)) if job.policy.name not in _PLAIN else 0.0

    def real_s(self, device_us: float) -> float:
        """Seconds on the clock for a time on the device."""
        return device_us * self._dilation / 1e6

    def alone_us(self, model: str) -> float:
        """Mean latency of a request alone: as profiled, or measured here on all SMs."""
        if self._profiles is not None:
            return self._profiles.alone_us(model)
        if model not in self._alone_us:
            load = Load(model, 100.0, None)
            (one,) = self.run(Job((load,), Policy(CAPACITY), _ALONE_S * 1e6, 0)).tenants
            if not len(one.end_us):
                raise FicoError(f"{model} ends no request within {_ALONE_S:g} s", "leave it out")
            self._alone_us[model] = float((one.end_us - one.arrival_us).mean())
        return self._alone_us[model]

    def check(self, policy: Policy) -> None:
        """UsageError for a policy or a setting that is not there with real processes."""
        known = POLICIES[self.name]
        if policy.name not in known:
            raise UsageError(
                f"policy {policy.name} does not run on --device {self.name}",
                f"choose from {', '.join(known)}, or use --device sim",
            )
        # A real time slice has none.
        rows = live_settings(policy.name) if policy.name != "timeslice" else []
        check_settings(policy.name, dict(policy.settings), rows)

    def run(self, job: Job) -> Outcome:
        """Run a job to its end. FicoError if a server ends or says nothing."""
        servers = self._servers(job)
        self._pool.await_ready()
        self._obey(job)
        self._get_ready(job, servers)
        if job.policy.name not in _PLAIN:
            # What is built lazily for a policy is built beside the others, as it will be used: some
            # hundred instances of graphs, and requests are slower until they are there.
            loads = tuple(replace(load, arrivals_us=None) for load in job.tenants)
            warm_up = replace(job, tenants=loads, window_us=_warm_up_us(job))
            for _ in range(1 if self._session.gpu.emulated else _MOST_WARM_UPS):
                before = self._counted(job)
                self._serve(warm_up, servers)
                self._get_ready(job, servers)
                if not any(_BUILT in more for more in self._grown(job, before)):
                    break
        before = self._counted(job)
        watch = nullcontext() if self._session.gpu.emulated else ClockWatch(self._session.gpu.uuid)
        with watch:
            begin_ns, answers = self._serve(job, servers)
        end_ns = time.monotonic_ns()
        served = self._served(job, answers)
        grown = self._grown(job, before)
        problems = [
            *left_behind(job, served),
            *_problems(job, grown),
        ]
        clocks_mhz = watch.mhz if isinstance(watch, ClockWatch) else None
        counters = sum(grown, Counter())
        return Outcome(served, tuple(problems), clocks_mhz, (begin_ns, end_ns), counters)

    def _get_ready(self, job: Job, servers: Sequence[ServerProcess]) -> None:
        """Let each server turn to its model and serve a few requests of it."""
        for number, (server, load) in enumerate(zip(servers, job.tenants, strict=True)):
            server.tell({"model": load.model, "core": _core(number, len(servers))})
        for server in servers:
            server.hear(_ANSWERS_WITHIN_S)

    def _servers(self, job: Job) -> list[ServerProcess]:
        """One for each tenant; they may not be ready yet."""
        count = len(job.tenants)
        if job.policy.name == "timeslice":
            return self._pool.plain(count, self._nowhere)
        if job.policy.name == "mps-quota":
            return self._pool.capped(_percentages(job))
        return self._pool.tenants(count, exactly=job.policy.name != CAPACITY)

    def _obey(self, job: Job) -> None:
        """Give the session the job's policy and quotas, if it is one of the session's."""
        if job.policy.name in SESSION_POLICIES:
            with arena_errors():
                self._arena.set_policy(job.policy.name, dict(job.policy.settings))
                if job.policy.name != CAPACITY:
                    self._give([load.quota_pct for load in job.tenants])

    def _give(self, quotas_pct: Sequence[float]) -> None:
        # One unit each first, so that the sum is never more than there is.
        for number in range(len(quotas_pct)):
            self._arena.update(tenant_name(number), quota_units=1)
        for number, quota_pct in enumerate(quotas_pct):
            # Down to a millionth: thirds do not add up to more than the whole.
            ppm = math.floor(quota_pct * 1e4 + 1e-3)
            self._arena.update(tenant_name(number), quota_ppm=ppm)

    def _serve(
        self, job: Job, servers: Sequence[ServerProcess]
    ) -> tuple[int, list[Mapping[str, Any]]]:
        """Let the servers begin; gives when they did, and their answers."""
        rng = np.random.default_rng(job.seed)
        begin_ns = time.monotonic_ns() + round(_LEAD_S * 1e9)
        order = {
            "begin_ns": begin_ns,
            "window_ns": self._ns(job.window_us),
            "until_ns": self._ns(LONGEST_WINDOWS * job.window_us),
            "goes_on": any_open(job),
        }
        for server, load in zip(servers, job.tenants, strict=True):
            times = load.arrivals_us
            # Tenants in closed loop do not begin all at once.
            delay_us = rng.random() * min(self._about_us(load.model), job.window_us / 10)
            arrivals_ns = None if times is None else [self._ns(at_us) for at_us in times]
            more = {"arrivals_ns": arrivals_ns, "delay_ns": self._ns(delay_us)}
            server.tell(order | more)
        within_s = self.real_s(LONGEST_WINDOWS * job.window_us) + _ANSWERS_WITHIN_S
        answers: dict[int, Mapping[str, Any]] = {}
        is_closed = [load.arrivals_us is None for load in job.tenants]
        # Closed loops beside open ones go on until those have ended.
        for number in sorted(range(len(servers)), key=is_closed.__getitem__):
            if order["goes_on"] and is_closed[number]:
                servers[number].tell("stop")
            answers[number] = servers[number].hear(within_s)
        return begin_ns, [answers[number] for number in range(len(servers))]

    def _about_us(self, model: str) -> float:
        if self._profiles is not None:
            return self._profiles.alone_us(model)
        return self._alone_us.get(model, _SOME_US)

    def _served(self, job: Job, answers: Sequence[Mapping[str, Any]]) -> tuple[Served, ...]:
        """What came and ended, in the device's time; of closed loops until the run's end."""
        served = []
        for answer in answers:
            arrival_us, end_us = (
                np.array(answer[name], dtype=np.float64) / (self._dilation * 1e3)
                for name in ("arrival_ns", "end_ns")
            )
            served.append(Served(arrival_us, end_us, None))
        ends_us = [
            float(one.end_us.max(initial=0.0))
            for one, load in zip(served, job.tenants, strict=True)
            if load.arrivals_us is not None
        ]
        last_us = max([job.window_us, *ends_us])
        return tuple(
            _until(one, last_us) if load.arrivals_us is None else one
            for one, load in zip(served, job.tenants, strict=True)
        )

    def _counted(self, job: Job) -> list[Counter[str]]:
        """The counters of each tenant; nothing outside of Fico."""
        if job.policy.name not in SESSION_POLICIES:
            return [Counter() for _ in job.tenants]
        rows = {row["name"]: row["counters"] for row in self._arena.tenants()}
        return [Counter(rows.get(tenant_name(number), {})) for number in range(len(job.tenants))]

    def _grown(self, job: Job, before: Sequence[Counter[str]]) -> list[Counter[str]]:
        """By how much they have grown since, of those that have."""
        return [new - old for old, new in zip(before, self._counted(job), strict=True)]

    def _ns(self, device_us: float) -> int:
        return round(device_us * self._dilation * 1e3)


def _warm_up_us(job: Job) -> float:
    return min(_WARM_UP_US, job.window_us / 2)


def _percentages(job: Job) -> list[int]:
    """Active thread percentages: whole ones, as MPS takes them."""
    part = dict(job.policy.settings).get(_PERCENT, 100.0) / 100
    return [min(100, max(1, round(part * load.quota_pct))) for load in job.tenants]


def _until(served: Served, end_us: float) -> Served:
    ended = served.end_us <= end_us
    return Served(served.arrival_us[ended], served.end_us[ended], None)


def _problems(job: Job, grown: Sequence[Mapping[str, int]]) -> Iterator[str]:
    """A line for each counter of a fall-back that has grown."""
    meanings = _native.counter_meanings()
    for number, (load, more) in enumerate(zip(job.tenants, grown, strict=True), 1):
        for name, count in more.items():
            if name.startswith(_FALL_BACKS):
                yield f"tenant {number} ({load.model}): {name} {count}: {meanings[name][1]}"


def _core(number: int, count: int) -> int | None:
    """A core for the thread that launches, where there are enough for its helpers as well."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1 - _CORES_EACH * number] if len(cores) >= _CORES_EACH * count + 1 else None


def _dilation() -> float:
    text = os.environ.get("FICO_EMULATED_DILATION", str(DILATION))
    try:
        dilation = float(text)
    except ValueError:
        dilation = 0.0
    if not 0 < dilation < math.inf:
        raise UsageError(
            f"FICO_EMULATED_DILATION={text!r} is not understood", "set a number above 0"
        )
    return dilation


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is too late: what ends is ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
