"""From raw records to a profile: what is known of made-up programs is found again."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from fico.profiling import prediction
from fico.profiling.analysis import analyse, quartiles
from fico.profiling.classes import Thresholds, evaluate, reclassified, shares
from fico.profiling.records import KERNEL, Pace
from fico.records.profile import (
    NEIGHBOURS,
    Bound,
    KernelClass,
    Neighbour,
    Profile,
    Resource,
)
from helpers.raw_records import UNIT_SMS, Call, Recorder, Step, closed_loop, measurement, network

Floats = NDArray[np.float64]

STEPS = (
    Step("big", blocks=4000, wave_us=30.0),
    Step("memory", blocks=1000, wave_us=40.0, felt={"memory": 0.5, "l2": 0.2}),  # type: ignore[dict-item]
    Step("small", blocks=4, wave_us=3.0),
    *[Step("middle", blocks=264, wave_us=4.0)] * 8,
)


def profile_of(steps: tuple[Step, ...], *, graph: bool = True, count: int = 20) -> Profile:
    return analyse(measurement(closed_loop(steps, count, graph=graph)))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of(STEPS)


def test_curves_are_those_of_the_program(profile: Profile) -> None:
    assert len(profile.launches) == len(STEPS)
    for launch, step in zip(profile.launches, STEPS, strict=True):
        assert launch.name == step.name
        true_us = np.array([step.alone_us(sms) for sms in UNIT_SMS])
        assert np.abs(np.array(launch.scaling_us) / true_us - 1).max() < 0.05
        assert launch.blocks_per_sm == 2
        assert (np.diff(launch.scaling_us) <= 0).all()


def test_right_sizes_classes_and_bounds(profile: Profile) -> None:
    big, memory, small, *middle = profile.launches
    assert small.right_units == 1
    assert big.right_units >= 15
    assert memory.bound == Bound.MEMORY
    assert (big.bound, small.bound) == (Bound.COMPUTE, Bound.LATENCY)
    assert big.kernel_class == KernelClass.DOMINANT
    assert small.kernel_class == KernelClass.INSENSITIVE
    assert {launch.position for launch in middle} == set(range(3, 11))
    by_time = shares(profile.launches)
    assert by_time.dominant + by_time.neutral + by_time.insensitive == pytest.approx(1)
    assert by_time.dominant > shares(profile.launches, by_time=False).dominant


def test_interference(profile: Profile) -> None:
    big, memory, *_ = profile.launches
    assert memory.sensitivity == pytest.approx((0, 0.5, 0.2), abs=0.04)
    assert big.sensitivity == pytest.approx((0, 0, 0), abs=0.04)
    assert memory.pressure[1] > 5 * big.pressure[1] > 0
    assert max(launch.pressure[1] for launch in profile.launches) <= 1
    (trace,) = profile.traces
    assert trace.pressure[1] == pytest.approx(0.3, abs=0.06)
    assert (trace.launches, trace.requests, trace.from_graph) == (11, 20, True)


def test_neighbours_that_write_are_told_apart(profile: Profile) -> None:
    _, memory, *_ = profile.launches
    beside = dict(zip(NEIGHBOURS, memory.slowdowns, strict=True))
    assert beside[Neighbour(Resource.MEMORY, 1.0)] == pytest.approx(1.5, rel=0.04)
    assert beside[Neighbour(Resource.MEMORY, 1.0, writes=True)] == pytest.approx(2.0, rel=0.04)
    # Sensitivity and pressure are those of test_interference: of neighbours that only read.


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("units", [1, 3, 8, 16])
def test_predicted_latency_alone(graph: bool, units: int) -> None:
    profile = profile_of(STEPS, graph=graph)
    sms = UNIT_SMS[units - 1]
    own = measured_latency_us(STEPS, sms, graph)
    assert prediction.alone_us(profile, 0, units) == pytest.approx(own, rel=0.06)


def measured_latency_us(
    steps: tuple[Step, ...], sms: int, graph: bool, pace_us: float = 0.0
) -> float:
    window = Recorder(sms, seed=77, pace_us=pace_us).play([Call(steps, graph)] * 9).window()
    rows = window.operations.reshape(9, len(steps))
    return float(np.median(rows["end_ns"].max(axis=1) - rows["start_ns"].min(axis=1))) / 1e3


@pytest.mark.parametrize("units", [1, 3, 8, 16])
def test_slower_kernels_fill_the_gaps_of_a_slow_program(units: int) -> None:
    steps = network(10, width=500)
    made = measurement(closed_loop(steps, 15, idle_us=100.0), pace_us=12.0, neighbours=False)
    profile = analyse(made)
    own = measured_latency_us(steps, UNIT_SMS[units - 1], False, 12.0)
    assert prediction.alone_us(profile, 0, units) == pytest.approx(own, rel=0.06)
    busy_us = sum(launch.scaling_us[units - 1] for launch in profile.launches)
    assert own > 1.3 * busy_us or units < 16


def test_two_streams_are_predicted_as_they_overlap() -> None:
    left = [Step("left", blocks=600, stream=0)] * 5
    right = [Step("right", blocks=700, stream=1)] * 5
    steps = (*(s for pair in zip(left, right, strict=True) for s in pair),)
    profile = profile_of(steps)
    assert any(launch.gap_us < 0 for launch in profile.launches)
    for units in (1, 4, 16):
        own = measured_latency_us(steps, UNIT_SMS[units - 1], True)
        assert prediction.alone_us(profile, 0, units) == pytest.approx(own, rel=0.15)


def test_a_split_pair(profile: Profile) -> None:
    quiet = profile_of((Step("quiet", blocks=100, wave_us=20.0),) * 5)
    alone = prediction.alone_us(profile, 0, 8), prediction.alone_us(quiet, 0, 8)
    beside = prediction.split_us((profile, 0, 8), (quiet, 0, 8))
    assert alone[0] < beside[0] < alone[0] * 1.5
    assert alone[1] <= beside[1] < alone[1] * 1.05
    both = prediction.split_us((profile, 0, 8), (profile, 0, 8))
    assert both[0] == pytest.approx(both[1])
    assert both[0] > alone[0]


def test_thresholds_are_evaluated_over_profiles(profile: Profile) -> None:
    candidates = [Thresholds(), Thresholds(insensitive_gain=2.0), Thresholds(dominant_share=0.9)]
    rows = evaluate({"one": profile}, candidates)
    assert [row["insensitive_gain"] for row in rows] == [0.2, 2.0, 0.2]
    assert rows[1]["insensitive_time"] == pytest.approx(1)
    assert rows[2]["dominant_count"] == 0
    again = reclassified(profile, candidates[1])
    assert {launch.kernel_class for launch in again.launches} == {KernelClass.INSENSITIVE}
    assert again.thresholds["insensitive_gain"] == 2.0


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.one_of(st.just(np.nan), st.floats(0, 1e6)),
    )
)
def test_quartiles_are_those_of_numpy(times_us: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of nothing
        expected = np.nanquantile(times_us, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(quartiles(times_us), expected, rtol=1e-9)
    assert np.isnan(quartiles(times_us[:0])).all()


def test_the_same_program_twice_gives_the_same_profile() -> None:
    calls = closed_loop(network(10), 15, graph=True)
    one, two = (analyse(measurement(calls, seed=seed)) for seed in (0, 50))
    for a, b in zip(one.launches, two.launches, strict=True):
        assert a.mangled == b.mangled
        assert a.duration_us == pytest.approx(b.duration_us, rel=0.05)
    assert shares(one.launches).dominant == pytest.approx(shares(two.launches).dominant, abs=0.03)


@pytest.mark.parametrize("graph", [True, False])
def test_a_profile_is_of_the_program_without_tracing(graph: bool) -> None:
    made = measurement(closed_loop(STEPS, 9, graph=graph), units=(8, 16))
    traced = analyse(made)
    on_8_us, on_16_us = traced.traces[0].latency_us

    def paced(on_8_us: float, on_16_us: float) -> Profile:
        periods_us = [on_16_us if window.units == 16 else on_8_us for window in made.windows]
        calls = 1 if graph else sum(step.kind == KERNEL for step in STEPS)
        paces = tuple(Pace(1e6 * calls / period_us, float("nan")) for period_us in periods_us)
        return analyse(replace(made, paces=paces))

    quicker = paced(0.97 * on_8_us, on_16_us - 5)
    assert prediction.alone_us(quicker, 0, 16) == pytest.approx(on_16_us - 5, rel=0.01)
    assert quicker.traces[0].period_us == pytest.approx((0.97 * on_8_us, on_16_us - 5))
    # Of a graph kernels are slowed down by it too, on few units most; else it is the program.
    factors = [
        made_quicker.measured_us[0] / was.measured_us[0]
        for made_quicker, was in zip(quicker.launches, traced.launches, strict=True)
    ]
    assert factors == pytest.approx([0.97 if graph else 1.0] * len(factors))
    slower = paced(on_8_us + 5, on_16_us + 5)
    for launch, was in zip(slower.launches, traced.launches, strict=True):
        assert (launch.gap_us, launch.scaling_us) == (was.gap_us, was.scaling_us)


def test_an_operation_of_long_before_does_not_count_as_time_without_pressure() -> None:
    made = measurement(closed_loop(STEPS, 15, graph=True))
    trace = analyse(made).traces[0]
    alone = [window.units for window in made.windows if window.neighbour is None]
    periods_us = dict(zip(alone, trace.latency_us, strict=True))
    windows = []
    for window in made.windows:
        operations = window.operations.copy()
        for time in ("start_ns", "end_ns"):
            operations[time][1:] += 1_000_000_000
        windows.append(replace(window, operations=operations))
    paces = tuple(Pace(1e6 / periods_us[window.units], float("nan")) for window in windows)
    found = analyse(replace(made, windows=tuple(windows), paces=paces)).traces[0]
    # Beside it the neighbour lost 30% of memory bandwidth.
    assert found.pressure[list(Resource).index(Resource.MEMORY)] == pytest.approx(0.3, rel=0.1)


def test_all_units_must_be_measured() -> None:
    made = measurement(closed_loop(STEPS, 5), units=(1, 4))
    with pytest.raises(ValueError, match="alone on all units"):
        analyse(made)
    made = measurement(closed_loop(STEPS, 5), units=(4, 16))
    with pytest.raises(ValueError, match=r"beside neighbours on \[8\] units"):
        analyse(made)
