"""How long to measure, from what was recorded first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fico.profiling import measure
from fico.profiling.measure import Run, calls_per_request, partition_sizes
from helpers.raw_records import Call, Recorder, closed_loop, decoder_step, network

PREFILL = Call(network(4, name="prefill"), graph=True)
STEP = Call(decoder_step(50), graph=True)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (closed_loop(network(4), 9, graph=True), 1),
        # One copy and 14 kernels: copies are no calls.
        (closed_loop(network(4), 9), 14),
        ([PREFILL, STEP] * 9, 2),
        ([PREFILL, *[STEP] * 32] * 4, 33),
        # Only one prefill was seen, so they are at least as far apart as the window is long.
        ([*[STEP] * 20, PREFILL, *[STEP] * 20], 41),
        ([STEP], 1),
    ],
)
def test_calls_until_all_have_come_again(calls: list[Call], expected: int) -> None:
    records = Recorder(132).play(calls).window().operations
    assert calls_per_request(np.asarray(records)) == expected


@pytest.mark.parametrize(
    ("units", "sizes"),
    [(16, (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)), (2, (1, 2)), (1, (1,))],
)
def test_sizes_are_dense_where_curves_bend(units: int, sizes: tuple[int, ...]) -> None:
    assert partition_sizes(units) == sizes


class Paced:
    """A program on a GPU of two units, with a pace for each time that it is asked for."""

    session = SimpleNamespace(gpu=SimpleNamespace(sms_per_unit=(8, 8)))

    def __init__(self, paces: list[float]) -> None:
        self.paces = paces

    def confine(self, units: int) -> None:
        assert units in (1, 2)

    def await_calls(self, count: int, within_s: float) -> None: ...

    def pace(self, seconds: float) -> float:
        assert seconds > 0
        return self.paces.pop(0)


@pytest.mark.parametrize(
    ("paces", "counted"),
    [
        ([100, 60, 97], (100, 60, 97)),
        # A warm-up of small launches, and what the program does from then on.
        ([900, 60, 100, 101, 61, 99], (101, 61, 99)),
        ([10, 60, 100, 101, 61, 99], (101, 61, 99)),
    ],
)
def test_what_a_program_does_once_is_not_its_pace(
    paces: list[float], counted: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_SETTLE_S", 0)
    run = Run(cast(Any, Paced(paces)), cast(Any, None), "emulated", lambda *_: None)
    run.count_alone()
    assert (run.counted, paces) == (counted, [])
