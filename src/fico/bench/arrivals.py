"""When requests come: sequences of arrivals, in microseconds from the start of a run.

A sequence is the same for the same generator state. Rates are requests per microsecond.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

BURSTY_CV2 = 8.0
"""Least squared coefficient of variation of the gaps of `on_off`."""

# The share of time that is on, and the squared coefficient of variation of the process. Bursts of
# 12 requests on average, at four times the mean rate.
_DUTY = 0.25
_PROCESS_CV2 = 13.0
_FEWEST_TO_JUDGE = 30
_DRAWS = 1000


def poisson(rate: float, window_us: float, rng: np.random.Generator) -> Times:
    """Independent arrivals at a mean rate, within [0, window)."""
    times = np.empty(0)
    while len(times) == 0 or times[-1] < window_us:
        last_us = times[-1] if len(times) else 0.0
        times = np.append(times, last_us + rng.exponential(1 / rate, 256).cumsum())
    return times[times < window_us]


def on_off(rate: float, window_us: float, rng: np.random.Generator) -> Times:
    """Bursts: a Poisson process that is switched on and off (interrupted Poisson process).

    Times on and off are exponential, a quarter on; gaps are hyperexponential with
    CV² = 1 + 2 λ ω₁ / (ω₁ + ω₂)², λ the rate while on, ω₁ and ω₂ the rates of switching off and on
    (Kuczura, "The interrupted Poisson process as an overflow process", Bell System Technical
    Journal 1973). Short sequences vary: drawn again until their own CV² is at least BURSTY_CV2 and
    their number within a tenth of the expected one. Too short ones are taken as they come.
    """
    expected = rate * window_us
    for _ in range(_DRAWS):
        times = _draw_on_off(rate, window_us, rng)
        if expected < _FEWEST_TO_JUDGE:
            return times
        if abs(len(times) - expected) <= expected / 10 and gap_cv2(times) >= BURSTY_CV2:
            return times
    return times


def _draw_on_off(rate: float, window_us: float, rng: np.random.Generator) -> Times:
    switching = 2 * rate * (1 - _DUTY) / (_DUTY * (_PROCESS_CV2 - 1))
    mean_on_us = 1 / (switching * (1 - _DUTY))
    mean_off_us = 1 / (switching * _DUTY)
    times: list[Times] = []
    start_us = 0.0
    on = rng.random() < _DUTY
    while start_us < window_us:
        length_us = rng.exponential(mean_on_us if on else mean_off_us)
        if on:
            count = rng.poisson(rate / _DUTY * length_us)
            times.append(start_us + np.sort(rng.random(count)) * length_us)
        start_us += length_us
        on = not on
    everything = np.concatenate(times) if times else np.empty(0)
    return everything[everything < window_us]


def replay(recorded_us: Times, rate: float, window_us: float, rng: np.random.Generator) -> Times:
    """A piece of a recorded sequence, with its time scaled to a mean rate.

    The piece starts anywhere, so that tenants with generators of their own differ, and goes round
    the end of the recording. At least 2 recorded arrivals that are not all at one time.
    """
    gaps = np.diff(recorded_us)
    # Round the end: a gap of the mean length.
    gaps = np.append(gaps, gaps.mean())
    count = max(1, round(rate * window_us))
    start = int(rng.integers(len(gaps)))
    piece = np.take(gaps, np.arange(start, start + count), mode="wrap")
    if piece.sum() <= 0:
        piece = np.ones(count)
    ends = np.cumsum(piece)
    times: Times = (ends - piece[0]) / ends[-1] * window_us
    return times


def gap_cv2(times: Times) -> float:
    """Squared coefficient of variation of the gaps; 0 for fewer than three arrivals."""
    gaps = np.diff(times)
    if len(gaps) < 2 or gaps.mean() == 0:
        return 0.0
    return float(gaps.var() / gaps.mean() ** 2)
