"""Kernels on the last unit, which is larger than the others and made of what they have left."""

from __future__ import annotations

import numpy as np
import pytest

from fico import _native

SMS = [8, 8, 8, 12]
DURATION_US = [40.0, 20.0, 15.0, 10.0]


def kernel(cluster: int) -> _native.SimTrace:
    """A request of one kernel with thread-block clusters of this size."""
    one = np.ones(1, np.uint32)
    return _native.SimTrace(
        duration_us=np.array([DURATION_US]),
        gap_us=np.zeros(1),
        blocks=one * 200,
        blocks_per_sm=one,
        threads=one * 128,
        registers=one * 32,
        shared_bytes=one * 0,
        cluster=one * cluster,
        sensitivity=np.zeros((1, 3)),
        pressure=np.zeros((1, 3)),
        right_units=one * 4,
        kernel_class=np.zeros(1, np.uint8),
        bound=np.zeros(1, np.uint8),
    )


def alone_us(cluster: int, units: tuple[int, int]) -> float:
    """What its tenant waits for it, alone on a slice."""
    costs = _native.SimCosts(
        boundary_us=0, hop_us=0, resume_us=0, stream_gap_us=0, request_us=0, cold_us=0
    )
    tenant = _native.SimTenant([kernel(cluster)], units, None, 5)
    row = _native.simulate(SMS, [tenant], "static", costs=costs)["tenants"][0]
    return float(np.median(row["end_us"] - row["arrival_us"]))


@pytest.mark.parametrize(
    ("cluster", "units", "wanted_us"),
    [
        (1, (0, 2), 20.0),
        (8, (0, 2), 20.0),
        (2, (2, 4), 20.0 * 16 / 20),  # as many more SMs as it has
        (4, (2, 4), 40.0),  # one unit is of no use
        (8, (1, 4), 20.0),
        (1, (1, 4), 15.0 * 24 / 28),
        (8, (0, 4), 10.0),  # as measured
        (4, (3, 4), 40.0),  # it has to run somewhere
    ],
)
def test_large_clusters_find_no_room_there(
    cluster: int, units: tuple[int, int], wanted_us: float
) -> None:
    assert alone_us(cluster, units) == pytest.approx(wanted_us, rel=1e-4)
