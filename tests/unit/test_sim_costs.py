"""What the simulator adds to the device model: the host's part of a request, and shared gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from fico import _native

SMS = [8] * 4
KERNELS = 50
KERNEL_US = 10.0
GAP_US = 1.0
REQUEST_US = KERNELS * (KERNEL_US + GAP_US)


def trace(
    from_graph: bool = True,
    kernels: int = KERNELS,
    kernel_us: float = KERNEL_US,
    gap_us: float = GAP_US,
) -> _native.SimTrace:
    """Equal kernels that disturb nobody and are as fast on one unit as on all."""
    ones = np.ones(kernels, np.uint32)
    return _native.SimTrace(
        duration_us=np.full((kernels, len(SMS)), kernel_us),
        gap_us=np.full(kernels, gap_us),
        blocks=ones,
        blocks_per_sm=ones * 16,
        threads=ones * 32,
        registers=ones * 8,
        shared_bytes=ones * 0,
        cluster=ones,
        sensitivity=np.zeros((kernels, 3)),
        pressure=np.zeros((kernels, 3)),
        right_units=ones,
        kernel_class=np.zeros(kernels, np.uint8),
        bound=np.zeros(kernels, np.uint8),
        from_graph=from_graph,
    )


def latencies_us(
    arrivals_us: list[float] | None, costs: _native.SimCosts, from_graph: bool = True
) -> _native.Array:
    """Of the requests of one tenant alone."""
    tenant = _native.SimTenant([trace(from_graph)], (0, 4), arrivals_us, 5)
    row = _native.simulate(SMS, [tenant], "mps", costs=costs)["tenants"][0]
    return row["end_us"] - row["arrival_us"]


@pytest.mark.parametrize("from_graph", [True, False])
def test_every_request_has_its_part_on_the_host(from_graph: bool) -> None:
    free = latencies_us(None, _native.SimCosts(request_us=0, cold_us=0), from_graph)
    found = latencies_us(None, _native.SimCosts(request_us=40, cold_us=0), from_graph)
    assert free == pytest.approx(REQUEST_US)
    assert found == pytest.approx(REQUEST_US + 40)


def test_the_longer_the_pause_before_it_the_later_a_request_begins() -> None:
    costs = _native.SimCosts(request_us=0, cold_us=100, cold_after_us=5_000)
    pauses_us = np.array([0.0, 1_000.0, 5_000.0, 100_000.0])
    arrivals_us = np.cumsum(pauses_us + np.r_[0, np.full(3, REQUEST_US + 200)])
    found = latencies_us(arrivals_us.tolist(), costs)
    ends_us = arrivals_us + found
    paused_us = np.r_[0.0, arrivals_us[1:] - ends_us[:-1]]
    assert found == pytest.approx(REQUEST_US + 100 * (1 - np.exp(-paused_us / 5_000)))
    assert found[-1] > found[1] + 50


def test_a_request_that_has_waited_for_the_one_before_is_not_cold() -> None:
    costs = _native.SimCosts(request_us=0, cold_us=100, cold_after_us=1)
    assert latencies_us([0.0, 1.0], costs)[1] == pytest.approx(2 * REQUEST_US - 1)


@dataclass(frozen=True)
class Placed:
    """Everybody's units and level."""

    grants: Sequence[tuple[tuple[int, int], int]]

    def decide(self, view: _native.View) -> _native.Grant:
        units, level = self.grants[view.self]
        return _native.Grant(units, level, span_us=1e300)


def added_us(
    own: tuple[tuple[int, int], int],
    *others: tuple[tuple[int, int], int],
    kernel_us: float = KERNEL_US - 1,
    shared_gap_us: float = 0,
) -> float:
    """What others add to a tenant's gaps, who always have a kernel of so long on the device; units
    and level of each."""
    costs = _native.SimCosts(
        request_us=0, cold_us=0, shared_gap_us=shared_gap_us, turn_us=0.5, boundary_us=0
    )
    tenants = [_native.SimTenant([trace()], (0, 1), None, 100)]
    for number in range(1, len(others) + 1):
        busy = trace(kernels=round(1e5 / kernel_us), kernel_us=kernel_us, gap_us=0)
        tenants.append(_native.SimTenant([busy], (number, number + 1), [0.0]))
    result = _native.simulate(SMS, tenants, Placed((own, *others)), costs=costs)
    row = result["tenants"][0]
    # The first request may begin before the others do.
    latency_us = float((row["end_us"] - row["start_us"])[1:90].mean())
    return (latency_us - REQUEST_US) / KERNELS


def test_kernels_on_units_of_their_own_have_the_shared_gap_only() -> None:
    assert added_us(((0, 2), 0), shared_gap_us=0.25) == pytest.approx(0)
    found_us = added_us(((0, 2), 0), ((2, 4), 0), kernel_us=1e5, shared_gap_us=0.25)
    assert found_us == pytest.approx(0.25)


@pytest.mark.parametrize("others", [1, 2, 3])
def test_kernels_on_the_same_units_take_turns_with_each_other_tenant(others: int) -> None:
    # The others wait for those of a higher level too, and so are not there all the time.
    levels = range(-others, 0)
    found_us = added_us(((0, 4), 0), *[((0, 4), level) for level in levels])
    assert found_us == pytest.approx(0.5 * others, rel=0.15)


def test_one_unit_in_common_is_enough_for_turns() -> None:
    assert added_us(((0, 3), 0), ((2, 4), -1)) == pytest.approx(0.5, rel=0.01)


def test_a_kernel_that_does_not_end_has_one_turn() -> None:
    assert added_us(((0, 4), 0), ((0, 4), -1), kernel_us=1e5) == pytest.approx(0)


def test_who_has_priority_waits_for_nobodys_turn() -> None:
    assert added_us(((0, 4), -5), ((0, 4), 0)) == pytest.approx(0)


def test_kernels_of_plain_processes_are_shorter_than_those_of_clients_of_mps() -> None:
    tenant = _native.SimTenant([trace()], (0, 4), None, 5)
    costs = _native.SimCosts(request_us=0, cold_us=0, boundary_us=0, mps_us=0.25)
    for policy, shorter_us in (("mps", 0.0), ("timeslice", 0.25)):
        row = _native.simulate(SMS, [tenant], policy, costs=costs)["tenants"][0]
        found_us = (row["end_us"] - row["arrival_us"]).mean()
        assert found_us == pytest.approx(REQUEST_US - KERNELS * shorter_us)


def test_a_kernel_is_not_less_than_half_of_itself_without_mps() -> None:
    tenant = _native.SimTenant([trace(kernel_us=0.5)], (0, 4), None, 5)
    costs = _native.SimCosts(request_us=0, cold_us=0, boundary_us=0, mps_us=0.4)
    row = _native.simulate(SMS, [tenant], "timeslice", costs=costs)["tenants"][0]
    assert (row["end_us"] - row["arrival_us"]).mean() == pytest.approx(KERNELS * (0.25 + GAP_US))


def test_a_request_that_is_held_has_its_host_part_done_meanwhile() -> None:
    """GIVEN a request without MPS that waits for another's slice WHEN that is over THEN it begins
    at once, as it was launched long before."""
    switch_us, host_us = 100.0, 40.0
    first = _native.SimTenant([trace(gap_us=0)], (0, 2), [0.0])
    second = _native.SimTenant([trace(gap_us=0)], (2, 4), [10.0])
    costs = _native.SimCosts(request_us=host_us, cold_us=0, resume_us=0, mps_us=0)
    settings = {"switch_us": switch_us}
    result = _native.simulate(SMS, [first, second], "timeslice", settings, costs=costs)
    one, other = result["tenants"]
    assert one["end_us"][0] == pytest.approx(host_us + KERNELS * KERNEL_US)
    found_us = other["end_us"][0] - one["end_us"][0]
    assert found_us == pytest.approx(switch_us + KERNELS * KERNEL_US)


def test_without_mps_a_tenant_gives_up_its_slice_with_its_request() -> None:
    """GIVEN two closed loops without MPS, requests of one shorter than a slice WHEN one of them has
    ended THEN the other has a whole slice before the next."""
    switch_us, slice_us = 100.0, 3000.0
    light = _native.SimTenant([trace(gap_us=0)], (0, 2), None, 20)
    heavy = _native.SimTenant([trace(kernels=4000, gap_us=0)], (2, 4), None, 1)
    costs = _native.SimCosts(request_us=20, cold_us=0)
    settings = {"slice_us": slice_us, "switch_us": switch_us}
    result = _native.simulate(SMS, [light, heavy], "timeslice", settings, costs=costs)
    one, other = result["tenants"]
    beside = (one["arrival_us"] > other["start_us"][0] + slice_us) & (
        one["end_us"] < other["end_us"][0] - slice_us
    )
    found_us = (one["end_us"] - one["arrival_us"])[beside]
    assert len(found_us) > 5
    own_us = KERNELS * KERNEL_US
    # A slice ends with a work, of 150 µs at most.
    assert found_us == pytest.approx(slice_us + 2 * switch_us + own_us, abs=150)
