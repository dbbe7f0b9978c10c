"""The collector in programs on the emulated GPU: what it records is what they asked for."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fico.profiling.collector import TraceFile
from fico.profiling.records import COPY, KERNEL
from helpers import built
from helpers.cli import Cli, new_cli, read_line, until
from helpers.patience import PATIENCE_S

KERNELS = ("gemm op=spin us_per_block=20 registers=96 shared=1024", "gemv op=spin us_per_block=5")
GEMM_BLOCKS = 384
TOKEN = f"token=h2d*4096,gemm*{GEMM_BLOCKS}x2,gemv*16,d2h*64"
PROMPT = "prompt:1=gemm*132x2"
# What a start and an end may be off together, on a machine that has been up for a year.
TICK_NS = 10


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def loop(*options: str) -> list[str]:
    kernels = [word for kernel in KERNELS for word in ("--kernel", kernel)]
    return [str(built.program("request_loop")), *kernels, "--request", TOKEN, *options]


@dataclass
class Traced:
    """A program that runs, and what is recorded of it."""

    process: subprocess.Popen[str]
    trace: TraceFile

    def await_ready(self) -> None:
        assert read_line(self.process) == "ready\n", self.process.stderr
        until(self.trace.is_ready, "a collector")

    def records(self, requests: int, *, detach: bool = False) -> tuple[Any, list[str]]:
        """The operations of at least so many requests, as they ended, and their names."""
        self.trace.begin()
        before = self.report()
        until(lambda: self.report() >= before + requests, f"{requests} requests")
        records, dropped = self.trace.end(detach=detach)
        assert dropped == 0
        return records, [self.trace.name(int(record["name"])) for record in records]

    def report(self) -> int:
        """How many requests there have been."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(json.loads(read_line(self.process))["token"]["requests"])

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        assert self.process.wait(PATIENCE_S) == 0


@dataclass
class Gpu:
    """An emulated GPU of one test's own, and the programs on it."""

    state: str
    programs: list[Traced] = field(default_factory=list)

    def environment(self, trace: TraceFile) -> dict[str, str]:
        cupti = built.driver_dir() / "libcupti.so.13"
        return {**trace.environment(cupti), "FICO_EMULATED_STATE": self.state}

    def start(self, *options: str) -> Traced:
        """Start the program without Fico."""
        trace = TraceFile(capacity=100_000)
        driver = {"LD_LIBRARY_PATH": str(built.driver_dir())}
        process = subprocess.Popen(
            loop(*options),
            env={**os.environ, **driver, **self.environment(trace)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.programs.append(Traced(process, trace))
        return self.programs[-1]

    def start_tenant(self, fico: Cli, name: str, quota: str, *options: str) -> Traced:
        trace = TraceFile(capacity=100_000)
        command = ["run", "--name", name, "--quota", quota, "--", *loop(*options)]
        process = fico.start(*command, **self.environment(trace))
        self.programs.append(Traced(process, trace))
        return self.programs[-1]


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[Gpu]:
    made = Gpu(str(tmp_path / "gpu"))
    yield made
    for program in made.programs:
        program.process.kill()
        program.process.wait()
        program.trace.close()


def durations_ns(records: Any, names: list[str], kernel: str) -> Any:
    chosen = records[[name == kernel for name in names]]
    return chosen["end_ns"] - chosen["start_ns"]


@pytest.mark.parametrize("options", [(), ("--graph",)], ids=["eager", "graph"])
def test_a_program_is_recorded_as_it_runs(gpu: Gpu, options: tuple[str, ...]) -> None:
    program = gpu.start(*options)
    program.await_ready()
    records, names = program.records(5)
    program.stop()

    # Whole requests, in order, but for the first and the last, which may be cut.
    kinds = list(zip(records["kind"].tolist(), names, strict=True))
    request = [(COPY, ""), (KERNEL, "gemm"), (KERNEL, "gemm"), (KERNEL, "gemv"), (COPY, "")]
    first = next(i for i in range(len(kinds)) if kinds[i : i + len(request)] == request)
    assert first < len(request)
    whole = len(kinds[first:]) // len(request)
    assert whole >= 4
    assert kinds[first : first + whole * len(request)] == request * whole

    gemms = records[[name == "gemm" for name in names]]
    assert {tuple(grid) for grid in gemms["grid"].tolist()} == {(GEMM_BLOCKS, 1, 1)}
    assert set(gemms["registers"].tolist()) == {96}
    assert set(gemms["static_shared"].tolist()) == {1024}
    # Three waves on 132 SMs.
    assert np.all(np.abs(durations_ns(records, names, "gemm") - 60_000.0) <= TICK_NS)
    assert np.all(np.abs(durations_ns(records, names, "gemv") - 5_000.0) <= TICK_NS)
    # Nodes of a graph keep their numbers, and there are as many as the request has steps.
    nodes = set(records["graph_node"].tolist())
    assert len(nodes) == (len(request) if options else 1)
    assert (0 in nodes) == (not options)


def test_nothing_is_recorded_between_windows(gpu: Gpu) -> None:
    program = gpu.start()
    program.await_ready()
    first, _ = program.records(2)
    count = program.report()
    until(lambda: program.report() >= count + 5, "requests between two windows")
    second, _ = program.records(2)
    program.stop()
    requests_ns = 5 * (2 * 60_000 + 5_000)
    assert int(second["start_ns"].min()) - int(first["end_ns"].max()) > requests_ns


@pytest.mark.parametrize("options", [(), ("--graph",)], ids=["eager", "graph"])
def test_cupti_may_leave_and_come_again(gpu: Gpu, options: tuple[str, ...]) -> None:
    program = gpu.start(*options)
    program.await_ready()
    windows = [program.records(3, detach=detach)[0] for detach in (False, True)]
    count = program.report()
    until(lambda: program.report() >= count + 5, "requests between two windows")
    windows += [program.records(3, detach=detach)[0] for detach in (True, False)]
    for records in windows:
        assert set(records["kind"].tolist()) == {KERNEL, COPY}
    recorded = [
        list(zip(records["correlation"].tolist(), records["graph_node"].tolist(), strict=True))
        for records in windows
    ]
    for before, after in pairwise(recorded):
        # A graph that runs when one window ends and the next begins has nodes in both.
        assert min(after)[0] >= max(before)[0]
        assert not set(before) & set(after)
    program.stop()


def test_steps_go_to_two_streams_in_turn(gpu: Gpu) -> None:
    program = gpu.start("--request", PROMPT, "--streams", "2")
    program.await_ready()
    records, names = program.records(5)
    program.stop()
    streams = records["stream"].tolist()
    assert len(set(streams)) == 2
    # The first, third and fifth steps of a token are on one, the copies among them.
    of_copies = set(records[records["kind"] == COPY]["stream"].tolist())
    of_gemvs = set(records[[name == "gemv" for name in names]]["stream"].tolist())
    assert (len(of_copies), len(of_gemvs)) == (1, 1)
    assert of_copies != of_gemvs
    # The two steps of a prompt are on both.
    prompts = records[records["grid"][:, 0] == 132]["stream"].tolist()
    assert min(prompts.count(stream) for stream in set(streams)) >= 4


@pytest.mark.parametrize("options", [(), ("--graph",)], ids=["eager", "graph"])
def test_durations_of_tenants_follow_their_quotas(
    fico: Cli, gpu: Gpu, options: tuple[str, ...]
) -> None:
    sms = {"small": 32, "large": 64}
    tenants = {
        name: gpu.start_tenant(fico, name, f"{count // 8}u", *options)
        for name, count in sms.items()
    }
    for tenant in tenants.values():
        tenant.await_ready()
    measured = {name: tenant.records(5) for name, tenant in tenants.items()}
    for tenant in tenants.values():
        tenant.stop()
    for name, (records, names) in measured.items():
        waves = -(-GEMM_BLOCKS // sms[name])
        durations = durations_ns(records, names, "gemm")
        assert len(durations) >= 8
        assert np.all(np.abs(durations - waves * 20_000.0) <= TICK_NS), (name, durations)
