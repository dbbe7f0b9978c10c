"""How long to measure, from what was recorded first."""

from __future__ import annotations

import numpy as np
import pytest

from fico.profiling.measure import calls_per_request, partition_sizes
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
