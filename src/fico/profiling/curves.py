"""How the duration of a kernel falls with the SMs it has.

A curve goes through the measured medians, made monotone first (a kernel never gets slower by
having more SMs; what contradicts that is noise) and flat from where each block has an SM for itself
(SMs without a block change nothing; what contradicts that is noise too). Between them it follows a
base:
 - plain: linear in 1/SMs, which is exact for a fixed part plus work that spreads over the SMs;
 - waves: fixed part + time of a wave * ceil(blocks / (blocks_per_sm * SMs)), the stairs of a
   kernel whose blocks run in whole waves, which may end at some number of SMs from which on
   something else limits it. The ratio of measurement to stairs is what is interpolated, so the
   curve still goes through what was measured.
The stairs are taken where they predict left-out points as well as the noise lets them, or better
than the plain base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NOISE = 0.02
"""Medians of one launch differ by as much from run to run."""
_BETTER = 0.8
"""Stairs that end must leave at most this part of the error of those that do not."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A fitted curve."""

    scaling_us: tuple[float, ...]
    """Duration on 1, 2, … all units; never grows."""
    fit_error: float
    """Relative error at measured points that were left out, median; NaN with fewer than three."""
    in_waves: bool
    """Whether the stairs of whole waves explain it best."""


def fit_curve(
    unit_sms: Floats,
    units: NDArray[np.int64],
    measured_us: Floats,
    blocks: int = 0,
    blocks_per_sm: int = 1,
) -> Curve:
    """Fit a curve to medians.

    `unit_sms[n - 1]` is the number of SMs of n units; `measured_us` were measured on `units`, which
    rise; NaN is no measurement. `blocks` 0: not known, and no stairs. ValueError if nothing was
    measured.
    """
    has = np.isfinite(measured_us)
    at, values = units[has] - 1, measured_us[has]
    if not len(at):
        raise ValueError("a curve needs at least one measured point")
    flat = (blocks > 0) & (unit_sms[at] >= blocks)
    if flat.any():
        values = np.where(flat, np.median(values[flat]), values)
    plain = _Base(unit_sms, None)
    error = _left_out_error(plain, at, values)
    best, best_error, in_waves = plain, error, False
    if blocks > blocks_per_sm * unit_sms[0]:  # else it is one wave everywhere
        # A row for each number of SMs at which the stairs may end.
        useful_sms = np.minimum(unit_sms, unit_sms[:, None])
        waves = _Base(unit_sms, np.ceil(blocks / (blocks_per_sm * useful_sms)))
        wave_error = _left_out_error(waves, at, values)
        if wave_error <= max(error, _NOISE):
            best, best_error, in_waves = waves, wave_error, True
    scaling_us = best.curve(at, values)
    if flat.any():
        scaling_us[unit_sms >= blocks] = scaling_us[-1]
    return Curve(tuple(scaling_us.tolist()), best_error, in_waves)


def right_units(scaling_us: tuple[float, ...], epsilon: float, resolution_us: float = 0.0) -> int:
    """Fewest units at which the duration is at most `epsilon` longer than on all of them, or by no
    more than what the timer tells apart."""
    limit = scaling_us[-1] * (1 + 1e-9) + max(epsilon * scaling_us[-1], resolution_us)
    return next(n for n, duration in enumerate(scaling_us, 1) if duration <= limit)


def falling(values: Floats) -> Floats:
    """The nearest sequence that never grows, by least squares (pool adjacent violators)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        means.append(value)
        counts.append(1)
        while len(means) > 1 and means[-1] > means[-2]:
            count = counts[-1] + counts[-2]
            mean = (means[-1] * counts[-1] + means[-2] * counts[-2]) / count
            del means[-1], counts[-1]
            means[-1], counts[-1] = mean, count
    return np.repeat(means, counts)


class _Base:
    """What a curve follows between the points that it goes through."""

    def __init__(self, unit_sms: Floats, waves: Floats | None) -> None:
        self._inverse_sms = 1 / unit_sms
        self._waves = waves

    def curve(self, at: NDArray[np.int64], values: Floats) -> Floats:
        """Durations on all numbers of units; `at` are indices, rising."""
        values = falling(values)
        base = self._base(at, values)
        inverse = self._inverse_sms
        ratio = np.interp(inverse, inverse[at][::-1], (values / base[at])[::-1])
        if at[0] > 0 and len(at) > 1:
            ratio[: at[0]] = self._below(at, values / base[at])
        curve = base * ratio
        # Between two measured points it stays between them.
        place = np.searchsorted(at, np.arange(len(curve)), side="right")
        highest = np.where(place > 0, values[np.maximum(place - 1, 0)], np.inf)
        lowest = values[np.minimum(place, len(values) - 1)]
        curve = np.clip(curve, lowest, highest)
        curve[at] = values
        return np.minimum.accumulate(curve)

    def _base(self, at: NDArray[np.int64], values: Floats) -> Floats:
        if self._waves is None or len(at) < 2:
            return np.ones_like(self._inverse_sms)
        fixed, per_wave = _fit_lines(self._waves[:, at], values)
        stairs = fixed[:, None] + per_wave[:, None] * self._waves
        errors = np.abs(stairs[:, at] / values - 1).sum(axis=1)
        # The last row, whose stairs do not end, unless another one is plainly better.
        best = int(np.argmin(errors))
        base: Floats = stairs[best if errors[best] < _BETTER * errors[-1] else -1]
        return base

    def _below(self, at: NDArray[np.int64], ratio: Floats) -> Floats:
        """On fewer units than were measured: the line goes on, but never falls."""
        inverse = self._inverse_sms
        slope = (ratio[0] - ratio[1]) / (inverse[at[0]] - inverse[at[1]])
        below: Floats = ratio[0] + max(slope, 0.0) * (inverse[: at[0]] - inverse[at[0]])
        return below


def _fit_lines(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both coefficients of y = a + b x for each row of x, none negative, by least relative
    squares."""
    weight = 1 / y**2
    s11, s12, s22 = weight.sum(), (x * weight).sum(axis=1), (x**2 * weight).sum(axis=1)
    r1, r2 = (1 / y).sum(), (x / y).sum(axis=1)
    determinant = s11 * s22 - s12**2
    flat = determinant <= 1e-12 * s11 * s22
    determinant = np.where(flat, 1, determinant)
    a, b = (r1 * s22 - r2 * s12) / determinant, (s11 * r2 - s12 * r1) / determinant
    constant, proportional = r1 / s11, r2 / s22
    flat |= b <= 0
    through_zero = ~flat & (a < 0)
    a = np.where(flat, constant, np.where(through_zero, 0, a))
    b = np.where(flat, 0, np.where(through_zero, proportional, b))
    return a, b


def _left_out_error(base: _Base, at: NDArray[np.int64], values: Floats) -> float:
    """Median relative error at each inner point, of the curve through the others."""
    errors = []
    for left_out in range(1, len(at) - 1):
        kept = np.arange(len(at)) != left_out
        predicted = base.curve(at[kept], values[kept])[at[left_out]]
        errors.append(abs(predicted / values[left_out] - 1))
    return float(np.median(errors)) if errors else float("nan")
