"""Curves go through what was measured, never grow, and find stairs and fixed parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.profiling.curves import falling, fit_curve, right_units
from fico.profiling.interference import spread_pressure
from fico.profiling.occupancy import blocks_per_sm

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


def test_a_fixed_part_and_work() -> None:
    true_us = 3 + 400 / SMS
    curve = fit_curve(SMS, UNITS, true_us[UNITS - 1], 7, 1)
    assert not curve.in_waves
    assert np.array(curve.scaling_us) == pytest.approx(true_us, rel=1e-6)
    assert right_units(curve.scaling_us, 0.05) == next(
        n for n, t in enumerate(true_us, 1) if t <= 1.05 * true_us[-1]
    )


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
    if (np.diff(measured) <= 0).all():
        assert scaling[UNITS - 1] == pytest.approx(measured)


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
