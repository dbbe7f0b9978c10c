"""`fico profile` from end to end on the emulated GPU: it finds the kernels that it is given.

What the program's kernels are like is in their module (docs/emulator.md), so the profile is known.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fico.profiling import raw_file
from fico.records.profile import NEIGHBOURS, KernelClass, Launch, Profile, Resource
from fico.runtime.profile_file import load
from helpers import built
from helpers.cli import Cli, Done

UNITS = 16
MEASURED = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)
# Emulated time runs so much slower than real time that a busy machine keeps up with it.
DILATION = "5"

# How much the device model makes of each: Settings::interference in native/device/settings.hpp.
WEIGHTS = {Resource.COMPUTE: 1.0, Resource.MEMORY: 1.0, Resource.L2: 0.75}


@dataclass(frozen=True)
class Kernel:
    """A kernel of the program, and what the profiler shall find."""

    curve_us: tuple[float, ...]
    """On 1, 2, … units; the last also on more."""
    blocks: int
    right_units: int
    kernel_class: KernelClass
    sensitivity: tuple[float, float, float] = (0, 0, 0)
    pressure: tuple[float, float, float] = (0, 0, 0)

    def line(self, name: str) -> str:
        lists = {
            "curve": self.curve_us,
            "sensitivity": self.sensitivity,
            "pressure": self.pressure,
        }
        options = [f"{key}={','.join(map(str, numbers))}" for key, numbers in lists.items()]
        return " ".join([name, "op=spin", *options])

    def duration_us(self, units: int) -> float:
        return self.curve_us[min(units, len(self.curve_us)) - 1]


KERNELS = {
    "dense": Kernel(
        tuple(round(1600 / n, 3) for n in range(1, UNITS + 1)),
        blocks=528,
        right_units=16,
        kernel_class=KernelClass.DOMINANT,
        sensitivity=(0.6, 0, 0),
        pressure=(0.5, 0, 0),
    ),
    "stream": Kernel(
        (640, 320, 200, 130, 120, 105, 92, 80),
        blocks=96,
        right_units=8,
        kernel_class=KernelClass.NEUTRAL,
        sensitivity=(0, 0.8, 0),
        pressure=(0, 0.6, 0),
    ),
    "narrow": Kernel(
        (200, 110, 80, 50),
        blocks=32,
        right_units=4,
        kernel_class=KernelClass.INSENSITIVE,
        sensitivity=(0, 0, 0.4),
    ),
    "flat": Kernel((30,), blocks=2, right_units=1, kernel_class=KernelClass.INSENSITIVE),
}
REQUESTS = {
    "prefill": (1, ["h2d*65536", "dense*528", "stream*96", "dense*528", "narrow*32", "flat*2"]),
    "decode": (4, ["flat*2", "stream*96", "narrow*32", "flat*2", "d2h*256"]),
}


def loop(*options: str) -> list[str]:
    """A program that serves until it is stopped."""
    command = [str(built.program("request_loop")), "--seconds", "600", *options]
    for name, kernel in KERNELS.items():
        command += ["--kernel", kernel.line(name)]
    return command


def requests() -> list[str]:
    words = []
    for name, (count, steps) in REQUESTS.items():
        words += ["--request", f"{name}:{count}={','.join(steps)}"]
    return words


@pytest.fixture(scope="module")
def session_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    cli = Cli(tmp_path_factory.mktemp("profile"))
    yield cli
    cli.close()


@dataclass(frozen=True)
class Profiled:
    """A program that has been profiled."""

    cli: Cli
    done: Done
    path: Path
    raw: Path
    profile: Profile
    as_graphs: bool


def profiled(cli: Cli, name: str, program: list[str]) -> Profiled:
    path, raw = cli.folder / f"{name}.fico", cli.folder / f"{name}.raw"
    files = ["-o", str(path), "--raw", str(raw)]
    done = cli("profile", *files, "--", *program, FICO_EMULATED_DILATION=DILATION)
    assert done.code == 0, done.err
    assert cli.leftovers() == []
    return Profiled(cli, done, path, raw, load(path), "--graph" in program)


@pytest.fixture(scope="module", params=["eager", "graphs"])
def served(request: pytest.FixtureRequest, session_cli: Cli) -> Profiled:
    """Two kinds of requests: one prefill, then four steps, again and again."""
    options = ["--graph"] if request.param == "graphs" else []
    return profiled(session_cli, str(request.param), loop(*requests(), *options))


def kernels_of(profile: Profile) -> list[tuple[Launch, Kernel]]:
    return [(row, KERNELS[row.name]) for row in profile.launches if row.kind == "kernel"]


def test_the_requests_are_found(served: Profiled) -> None:
    profile = served.profile
    assert profile.gpu.emulated
    assert profile.program == str(built.program("request_loop"))
    assert profile.measured_units == MEASURED
    found = {
        tuple(
            row.name if row.kind == "kernel" else row.kind for row in profile.trace_launches(index)
        ): trace
        for index, trace in enumerate(profile.traces)
    }
    wanted = {
        tuple({"h2d": "copy", "d2h": "copy"}.get(name, name) for name in names): count
        for count, steps in REQUESTS.values()
        for names in [[step.partition("*")[0] for step in steps]]
    }
    assert set(found) == set(wanted)
    assert {trace.from_graph for trace in found.values()} == {served.as_graphs}
    seen = {names: trace.requests / wanted[names] for names, trace in found.items()}
    assert max(seen.values()) <= 1.5 * min(seen.values()), seen


def test_the_curves_are_those_of_the_kernels(served: Profiled) -> None:
    for launch, kernel in kernels_of(served.profile):
        assert launch.grid == (kernel.blocks, 1, 1)
        wanted_us = [kernel.duration_us(units) for units in MEASURED]
        np.testing.assert_allclose(launch.measured_us, wanted_us, rtol=0.05, err_msg=launch.name)
        at_measured_us = [launch.scaling_us[units - 1] for units in MEASURED]
        np.testing.assert_allclose(at_measured_us, wanted_us, rtol=0.05, err_msg=launch.name)
        assert launch.right_units == kernel.right_units, launch.name
        assert launch.kernel_class == kernel.kernel_class, launch.name


def test_the_latencies_are_the_sums_of_the_kernels(served: Profiled) -> None:
    profile = served.profile
    for index, trace in enumerate(profile.traces):
        rows = profile.trace_launches(index)
        for place, units in enumerate(MEASURED):
            busy_us = sum(row.measured_us[place] for row in rows)
            assert trace.latency_us[place] >= 0.99 * busy_us
            if served.as_graphs:
                assert trace.latency_us[place] <= 1.01 * busy_us, units


def test_neighbours_slow_the_kernels_down_as_the_device_does(served: Profiled) -> None:
    for launch, kernel in kernels_of(served.profile):
        wanted = [
            1
            + WEIGHTS[neighbour.resource]
            * kernel.sensitivity[list(Resource).index(neighbour.resource)]
            * neighbour.strength
            for neighbour in NEIGHBOURS
        ]
        np.testing.assert_allclose(launch.slowdowns, wanted, rtol=0.05, err_msg=launch.name)
        weighted = np.multiply(kernel.sensitivity, [WEIGHTS[resource] for resource in Resource])
        np.testing.assert_allclose(launch.sensitivity, weighted, atol=0.05, err_msg=launch.name)


def test_the_pressure_is_what_the_neighbours_lost(served: Profiled) -> None:
    """A full neighbour beside a pressure p takes 1 + p as long, so it loses p / (1 + p).

    How much of the time the program runs something depends on the machine's load. So it is taken
    from how many requests the program made meanwhile, by the profiler's own count.
    """
    measured = raw_file.load(served.raw)
    half = served.profile.shared_units
    turn = [
        (count, KERNELS[step.partition("*")[0]])
        for count, steps in REQUESTS.values()
        for step in steps
        if step.partition("*")[0] in KERNELS
    ]
    calls = sum(count for count, _ in (REQUESTS.values() if served.as_graphs else turn))
    lost = {}
    for window, pace in zip(measured.windows, measured.paces, strict=True):
        if window.neighbour is None or window.neighbour.strength < 1:
            continue
        place = list(Resource).index(window.neighbour.resource)
        lost_us = 0.0
        for count, kernel in turn:
            slowed = 1 + WEIGHTS[window.neighbour.resource] * kernel.sensitivity[place]
            pressure = kernel.pressure[place]
            lost_us += count * kernel.duration_us(half) * slowed * pressure / (1 + pressure)
        turns_per_us = pace.calls_per_s / calls * float(DILATION) / 1e6
        rates = measured.neighbours[window.neighbour]
        part = 1 - rates.beside / rates.alone
        lost[window.neighbour.resource] = part
        # On a busy machine the emulated neighbour is told late of short kernels, and misses some.
        expected = turns_per_us * lost_us
        assert 0.6 * expected - 0.005 <= part <= 1.1 * expected + 0.005, window.neighbour
    # Who feels a resource has the pressure on it; the others may use it a bit.
    for resource, name in ((Resource.COMPUTE, "dense"), (Resource.MEMORY, "stream")):
        place = list(Resource).index(resource)
        used_us = dict.fromkeys(KERNELS, 0.0)
        for launch, kernel in kernels_of(served.profile):
            used_us[launch.name] += launch.pressure[place] * kernel.duration_us(half)
        assert lost[resource] > 0
        assert used_us[name] > 0.8 * sum(used_us.values()) > 0


def test_the_raw_file_gives_the_same_profile(served: Profiled) -> None:
    again = served.path.with_suffix(".again")
    done = served.cli("profile", "analyse", str(served.raw), "-o", str(again))
    assert done.code == 0, done.err
    assert again.read_bytes() == served.path.read_bytes()


def test_show_prints_it(served: Profiled) -> None:
    done = served.cli("profile", "show", str(served.path))
    assert (done.code, done.err) == (0, "")
    for name in KERNELS:
        assert name in done.out
    # The same was shown when it had been measured.
    assert served.done.out.splitlines()[0] == done.out.splitlines()[0]


def test_kernels_of_two_streams_in_a_worker(session_cli: Cli) -> None:
    """Short kernels of two streams, beside each other on one partition; who is started does not
    use the GPU itself."""
    step = "token=h2d*4096,flat*2x4,narrow*2x2"
    worker = loop("--request", step, "--streams", "2")
    program = ["sh", "-c", f"{shlex.join(worker)} & wait"]
    profile = profiled(session_cli, "streams", program).profile
    (trace,) = profile.traces
    assert trace.launches == 7
    assert {launch.stream for launch in profile.launches if launch.kind == "kernel"} == {0, 1}
    for launch, kernel in kernels_of(profile):
        assert launch.duration_us == pytest.approx(kernel.duration_us(UNITS), rel=0.05)
    busy_us = sum(launch.duration_us for launch in profile.launches)
    assert trace.latency_us[-1] < 0.9 * busy_us
