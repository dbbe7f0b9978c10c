"""Runs that are cut into rounds and put together again; programs for the emulated GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.bench.cell import Cell
from fico.bench.device import Job, Load, Outcome, Served
from fico.bench.emulated_program import curve_us, program_of
from fico.bench.policy import Policy
from fico.bench.rounds import in_rounds, joined, run_in_rounds
from fico.bench.validity import reasons_against
from fico.runtime.errors import UsageError
from helpers.profiles import synthetic_profile
from helpers.sharing_device import SharingDevice

WINDOW_US = 9000.0
ARRIVALS = st.lists(st.floats(0, WINDOW_US, exclude_max=True), max_size=40).map(sorted)


def job_of(*arrivals: list[float] | None) -> Job:
    tenants = tuple(
        Load("vgg16-bs8-graph", 50.0, None if times is None else np.array(times))
        for times in arrivals
    )
    return Job(tenants, Policy("mps"), WINDOW_US, 7)


def echo(job: Job) -> Outcome:
    """What a device gives that serves each request in no time, and closed loops once."""
    times = [np.zeros(1) if t.arrivals_us is None else t.arrivals_us for t in job.tenants]
    served = tuple(Served(one, one, 2.0) for one in times)
    return Outcome(served, ("hot",), (job.seed, 100), counters={"pieces": 3})


@given(ARRIVALS, ARRIVALS, st.integers(1, 7))
def test_every_arrival_is_in_one_round(
    first: list[float], second: list[float], rounds: int
) -> None:
    job = job_of(first, second, None)
    parts = in_rounds(job, rounds)
    assert len(parts) == rounds
    for part in parts:
        assert part.window_us == WINDOW_US / rounds
        assert part.tenants[2].arrivals_us is None
        for load in part.tenants[:2]:
            assert load.arrivals_us is not None
            assert ((load.arrivals_us >= 0) & (load.arrivals_us <= part.window_us)).all()
    whole = joined(job, [echo(part) for part in parts])
    for served, times in zip(whole.tenants, (first, second), strict=False):
        assert served.arrival_us == pytest.approx(np.array(times), abs=1e-6)
        assert served.sm_us == 2.0 * rounds
    starts = [number * WINDOW_US / rounds for number in range(rounds)]
    assert whole.tenants[2].end_us == pytest.approx(np.array(starts))
    assert whole.problems == ("hot",)
    assert whole.clocks_mhz == (7, 100)
    assert whole.counters == {"pieces": 3 * rounds}


def test_one_round_is_the_job_itself() -> None:
    device, job = SharingDevice(), job_of([0.0, 10.0, 4000.0], None)
    assert run_in_rounds(device, job, 1).tenants[0].end_us.tolist() == (
        device.run(job).tenants[0].end_us.tolist()
    )
    # In several the queues begin anew.
    parts = run_in_rounds(device, replace(job, policy=Policy("static")), 3)
    assert len(parts.tenants[0].end_us) == 3


def test_clocks_that_fall_are_a_reason() -> None:
    cell = Cell.of(["vgg16-bs8"], [], "dense")
    times = np.arange(0.0, 40e3, 1e3)
    served = (Served(times, times + 10, None),)
    assert reasons_against(cell, Outcome(served, clocks_mhz=(1900, 1980))) == []
    assert reasons_against(cell, Outcome(served, clocks_mhz=(1200, 1980))) == [
        "the clock of the SMs was between 1200 and 1980 MHz"
    ]


def test_a_profile_becomes_a_program() -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    program = program_of("vgg16", profile)
    lines = program["module"].splitlines()
    assert lines[0] == "fico-emulated-module"
    assert len(lines) == 1 + len(profile.launches)
    assert program["graph"]
    assert program["turns"] == (0,)
    (kernels,) = program["requests"]
    assert [name for name, _ in kernels] == [line.split()[1] for line in lines[1:]]
    first = profile.launches[0]
    assert curve_us(first)[-1] == pytest.approx(first.gap_us + first.scaling_us[-1])
    rising = replace(first, scaling_us=(3.0, 2.0, 2.5), gap_us=-1.0)
    assert curve_us(rising) == [3.0, 2.0, 2.0]


def test_a_profile_of_other_units_is_refused() -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    other = replace(profile, gpu=replace(profile.gpu, sms_per_unit=(8,) * 9))
    with pytest.raises(UsageError, match="the profile vgg16 is of a GPU of 9 units"):
        program_of("vgg16", other)
