"""Curves go through what was measured, never grow, and find stairs and fixed parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.profiling.curves import falling, fit_curve, right_units
from fico.profiling.interference import bound_of, spread_pressure
from fico.profiling.occupancy import blocks_per_sm
from fico.records.profile import Bound

SMS = np.cumsum([8] * 15 + [12]).astype(np.float64)
UNITS = np.array([1, 2, 4, 6, 8, 10, 12, 14, 16])


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "blocks"),
    [
        # From the CUDA occupancy calculator, compute capability 9.0.
        (256, 32, 0, 8),
        (256, 64, 0, 4),
        (128, 168, 0, 3),
        (384, 168, 227 * 1024, 1),
        (1024, 33, 0, 1),
        (32, 16, 0, 32),
        (128, 32, 48 * 1024, 4),
        (1, 255, 0, 8),
    ],
)
def test_occupancy(threads: int, registers: int, shared_bytes: int, blocks: int) -> None:
    assert blocks_per_sm(threads, registers, shared_bytes) == blocks


def test_stairs_are_found_between_measured_points() -> None:
    true_us = 2 + 5 * np.ceil(500 / (2 * SMS))
    curve = fit_curve(SMS, UNITS, true_us[UNITS - 1], 500, 2)
    assert curve.in_waves
    assert np.array(curve.scaling_us) == pytest.approx(true_us, rel=1e-6)
    assert curve.fit_error < 1e-6
    plain = fit_curve(SMS, UNITS, true_us[UNITS - 1])
    assert plain.fit_error > curve.fit_error


def test_stairs_that_end_are_found() -> None:
    true_us = 1 + 7 * np.ceil(3000 / (4 * np.minimum(SMS, 40)))
    noisy_us = true_us * (1 + 0.004 * np.array([1, -1] * 8))
    curve = fit_curve(SMS, UNITS, noisy_us[UNITS - 1], 3000, 4)
    assert np.array(curve.scaling_us) == pytest.approx(true_us, rel=0.03)
    assert right_units(curve.scaling_us, 0.05) == 5


def test_a_fixed_part_and_work() -> None:
    true_us = 3 + 400 / SMS
    curve = fit_curve(SMS, UNITS, true_us[UNITS - 1])
    assert not curve.in_waves
    assert np.array(curve.scaling_us) == pytest.approx(true_us, rel=1e-6)
    assert right_units(curve.scaling_us, 0.05) == next(
        n for n, t in enumerate(true_us, 1) if t <= 1.05 * true_us[-1]
    )


def test_sms_without_a_block_change_nothing() -> None:
    # As measured of a kernel of 26 blocks on an H200.
    measured = np.array([12.6, 7.75, 5.3, 5.5, 6.0, 6.0, 6.0, 5.95, 5.3])
    curve = fit_curve(SMS, UNITS, measured, 26, 4)
    assert right_units(curve.scaling_us, 0.05) == 4
    assert right_units(fit_curve(SMS, UNITS, measured).scaling_us, 0.05) > 8


def test_what_the_timer_does_not_tell_apart_is_no_gain() -> None:
    curve = (3.2, 1.344, 1.312, 1.28, *[1.248] * 12)
    assert right_units(curve, 0.05) == 4
    assert right_units(curve, 0.05, 0.064) == 3
    assert right_units((100.0, 10.6, 10.4, 10.0), 0.05, 0.064) == 3


def test_saturation_shows_in_the_right_size() -> None:
    true_us = np.maximum(20.0, 1000 / SMS)
    curve = fit_curve(SMS, UNITS, true_us[UNITS - 1], 10_000, 2)
    assert right_units(curve.scaling_us, 0.05) == 6


def test_what_was_not_measured_is_filled() -> None:
    measured = np.array([np.nan, 50.0, np.nan, np.nan, 20.0, np.nan, np.nan, np.nan, 15.0])
    curve = fit_curve(SMS, UNITS, measured)
    assert curve.scaling_us[1] == 50
    assert curve.scaling_us[7] == 20
    assert curve.scaling_us[0] > 50
    assert math.isnan(fit_curve(SMS, UNITS[-2:], np.array([9.0, 8.0])).fit_error)
    with pytest.raises(ValueError, match="at least one"):
        fit_curve(SMS, UNITS, np.full(9, np.nan))


@given(
    values=st.lists(st.floats(0.5, 1e4), min_size=9, max_size=9),
    blocks=st.integers(0, 5000),
    per_sm=st.integers(1, 32),
)
def test_any_measurement_gives_a_curve(values: list[float], blocks: int, per_sm: int) -> None:
    measured = np.array(values)
    curve = fit_curve(SMS, UNITS, measured, blocks, per_sm)
    scaling = np.array(curve.scaling_us)
    assert len(scaling) == 16
    assert (np.diff(scaling) <= 1e-9).all()
    assert scaling.min() >= measured.min() * (1 - 1e-9)
    assert scaling.max() <= measured.max() * (1 + 1e-9)
    assert 1 <= right_units(curve.scaling_us, 0.05) <= 16
    if (np.diff(measured) <= 0).all() and not 0 < blocks <= SMS[-1]:
        assert scaling[UNITS - 1] == pytest.approx(measured)
    if blocks:
        assert np.unique(scaling[blocks <= SMS]).size <= 1


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=20))
def test_falling_is_the_nearest(values: list[float]) -> None:
    fitted = falling(np.array(values))
    assert (np.diff(fitted) <= 1e-9).all()
    assert fitted.sum() == pytest.approx(sum(values))
    assert falling(fitted) == pytest.approx(fitted)


@given(
    total=st.floats(0, 1),
    rows=st.lists(st.tuples(st.floats(0.02, 1), st.floats(0.5, 500)), min_size=1, max_size=30),
    idle=st.floats(1, 3),
)
def test_pressure_is_spread_and_keeps_its_mean(
    total: float, rows: list[tuple[float, float]], idle: float
) -> None:
    weights, durations = np.array(rows).T
    span = durations.sum() * idle
    pressure = spread_pressure(total, weights, durations, span)
    assert (pressure >= 0).all()
    assert (pressure <= 1 + 1e-12).all()
    reachable = min(total * span, durations.sum())
    assert (pressure * durations).sum() == pytest.approx(reachable, rel=1e-6, abs=1e-9)
    # What weighs more never has less.
    assert (np.diff(pressure[np.argsort(weights)]) >= -1e-9).all()


FALLING = tuple(16 / n for n in range(1, 17))
FLAT = (1.0,) * 16


@pytest.mark.parametrize(
    ("half", "full", "waves", "scaling_us", "bound"),
    [
        # A copy through memory: it needs more than the half that its neighbour leaves.
        (1.3, 1.6, 20.0, FALLING, Bound.MEMORY),
        # A convolution that feels the longer way to memory, no more.
        (1.1, 1.5, 1.9, FALLING, Bound.COMPUTE),
        # Few blocks, three times as long beside the full neighbour: each waits for its own loads.
        (2.1, 3.4, 0.25, FLAT, Bound.LATENCY),
        (1.0, 1.1, 0.5, FLAT, Bound.LATENCY),
        # 94 us on half of the units and on all, whatever runs beside it.
        (1.02, 1.04, 150.0, FLAT, Bound.MEMORY),
        (math.nan, math.nan, 2.0, FALLING, Bound.COMPUTE),
    ],
)
def test_what_limits_a_kernel(
    half: float, full: float, waves: float, scaling_us: tuple[float, ...], bound: Bound
) -> None:
    slowdowns = np.array([1.0, 1.0, half, full, 1.0, 1.0])
    assert bound_of(slowdowns, waves, scaling_us) == bound
