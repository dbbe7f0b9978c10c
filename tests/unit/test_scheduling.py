"""Properties of the scheduler, its policies and the simulator, over random scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico import _native
from fico.sim.run import slices
from helpers.traces import random_trace

POLICIES = [row["name"] for row in _native.policies()]
NEVER_HOLD = ("mps", "mps-quota", "static", "krisp", "lithos")
# Of the policies that hold: settings under which they do.
HOLDING = {
    "reef": {"all_realtime": 0, "longest_hold_us": 3000.0},
    "orion": {"all_first": 0, "longest_hold_us": 3000.0},
    "timeslice": {"slice_us": 500.0},
}
SMS = [8, 8, 8, 8, 8, 8, 8, 12]


@dataclass(frozen=True)
class Scenario:
    """Tenants, and what happens to them."""

    seed: int
    tenants: int
    requests: int
    closed: bool
    load: float
    deaths: bool = False
    quota_changes: bool = False

    def run(self, policy: str, values: dict[str, float] | None = None) -> _native.SimResult:
        random = np.random.default_rng(self.seed)
        quotas = random.dirichlet(np.full(self.tenants, 4.0))
        tenants = []
        for own in slices(list(quotas * 0.999), len(SMS)):
            trace = random_trace(random, len(SMS))
            mean_us = trace_us(trace) * self.tenants / self.load
            arrivals = np.cumsum(random.exponential(mean_us, self.requests)).tolist()
            dies_us = random.uniform(0, arrivals[-1]) if random.random() < 0.3 else 1e300
            tenants.append(
                _native.SimTenant(
                    [trace],
                    own,
                    None if self.closed else arrivals,
                    self.requests,
                    dies_us=dies_us if self.deaths else 1e300,
                )
            )
        changes = []
        if self.quota_changes:
            for time_us in sorted(random.uniform(0, 20_000, 3).tolist()):
                other = list(random.dirichlet(np.full(self.tenants, 2.0)) * 0.999)
                changes.append((time_us, slices(other, len(SMS))))
        return _native.simulate(
            SMS,
            tenants,
            policy,
            HOLDING.get(policy, {}) if values is None else values,
            seed=self.seed,
            until_us=1e9,
            quota_changes=changes,
            timeline=True,
        )


def trace_us(trace: _native.SimTrace) -> float:
    """Duration of a request alone."""
    tenant = _native.SimTenant([trace], (0, len(SMS)), [0.0])
    return _native.simulate(SMS, [tenant], "mps")["end_us"]


def scenarios(
    deaths: bool = False, quota_changes: bool = False, most_tenants: int = 6
) -> st.SearchStrategy[Scenario]:
    return st.builds(
        Scenario,
        seed=st.integers(0, 2**32),
        tenants=st.integers(1, most_tenants),
        requests=st.integers(1, 12),
        closed=st.booleans(),
        load=st.sampled_from([0.2, 0.5, 0.9, 2.0]),
        deaths=st.just(deaths),
        quota_changes=st.just(quota_changes),
    )


def overlapping_claims(timeline: list[_native.SimPiece]) -> list[tuple[int, int]]:
    """Pairs of pieces of different tenants that claimed a unit at the same time."""
    wrong = []
    claims = [piece for piece in timeline if piece["exclusive"]]
    for index, piece in enumerate(claims):
        end_us = piece["ended_us"] if piece["ended_us"] >= 0 else piece["granted_us"]
        for after in range(index + 1, len(claims)):
            other = claims[after]
            if other["granted_us"] >= end_us:
                break
            same_units = (
                piece["units"][0] < other["units"][1] and other["units"][0] < piece["units"][1]
            )
            if same_units and other["tenant"] != piece["tenant"]:
                wrong.append((index, after))
    return wrong


@pytest.mark.parametrize("policy", POLICIES)
@given(scenario=scenarios(deaths=True, quota_changes=True))
@settings(max_examples=250, deadline=None)
def test_every_request_ends_and_claims_never_overlap(policy: str, scenario: Scenario) -> None:
    result = scenario.run(policy)
    assert result["end_us"] < 1e9
    lost = 0
    for tenant in result["tenants"]:
        assert np.all(tenant["end_us"] > tenant["arrival_us"])
        assert np.all(np.diff(tenant["end_us"]) > 0)
        lost += len(tenant["end_us"]) < scenario.requests
    # Only tenants that die leave requests unserved: the run goes on until the others have ended.
    assert lost == 0 or scenario.deaths
    assert overlapping_claims(result["timeline"]) == []


@pytest.mark.parametrize("policy", POLICIES)
@given(scenario=scenarios(quota_changes=True))
@settings(max_examples=100, deadline=None)
def test_without_deaths_no_request_is_lost(policy: str, scenario: Scenario) -> None:
    for tenant in scenario.run(policy)["tenants"]:
        assert len(tenant["end_us"]) >= scenario.requests


@pytest.mark.parametrize("policy", NEVER_HOLD)
@given(scenario=scenarios(deaths=True, quota_changes=True))
@settings(max_examples=100, deadline=None)
def test_no_tenant_is_held_whether_its_units_are_idle_or_not(
    policy: str, scenario: Scenario
) -> None:
    result = scenario.run(policy)
    assert all(piece["granted_us"] == piece["wanted_us"] for piece in result["timeline"])
    assert all(tenant["holds"] == 0 for tenant in result["tenants"])


@pytest.mark.parametrize("policy", sorted(HOLDING))
@given(scenario=scenarios(deaths=True, quota_changes=True))
@settings(max_examples=200, deadline=None)
def test_a_hold_is_bounded(policy: str, scenario: Scenario) -> None:
    values = HOLDING[policy]
    # A turn lasts a slice, the switch and the work that is on the device when the slice ends.
    bound_us = values.get("longest_hold_us", scenario.tenants * (500.0 + 150 + 1500))
    for piece in scenario.run(policy)["timeline"]:
        assert piece["granted_us"] - piece["wanted_us"] <= bound_us + 1e-6


@given(scenario=scenarios(deaths=True, quota_changes=True), policy=st.sampled_from(POLICIES))
@settings(max_examples=150, deadline=None)
def test_the_same_seed_gives_the_same_bytes(scenario: Scenario, policy: str) -> None:
    first, second = scenario.run(policy), scenario.run(policy)
    assert first["timeline"] == second["timeline"]
    for one, other in zip(first["tenants"], second["tenants"], strict=True):
        assert one["end_us"].tobytes() == other["end_us"].tobytes()


@given(scenario=scenarios(quota_changes=True))
@settings(max_examples=100, deadline=None)
def test_pieces_of_a_tenant_follow_each_other(scenario: Scenario) -> None:
    last: dict[int, _native.SimPiece] = {}
    for piece in scenario.run("fico")["timeline"]:
        before = last.get(piece["tenant"])
        if before is not None:
            assert before["ended_us"] <= piece["wanted_us"]
            assert piece["launches"][0] in (0, before["launches"][1])
        last[piece["tenant"]] = piece


LONGEST_PIECE_US = 250.0
SHORT_REQUEST_US = 600.0


def latencies_us(scenario: Scenario, policy: str) -> list[np.ndarray]:
    return [
        tenant["end_us"][: scenario.requests] - tenant["arrival_us"][: scenario.requests]
        for tenant in scenario.run(policy)["tenants"]
    ]


@given(
    scenario=st.builds(
        Scenario,
        seed=st.integers(0, 2**32),
        tenants=st.integers(2, 4),
        requests=st.just(40),
        closed=st.booleans(),
        load=st.sampled_from([0.25, 0.5, 0.8]),
    )
)
@settings(max_examples=300, deadline=None)
def test_the_promise_but_for_one_piece_of_each_other(scenario: Scenario) -> None:
    others_us = (scenario.tenants - 1) * LONGEST_PIECE_US
    for ours, static in zip(
        latencies_us(scenario, "fico"), latencies_us(scenario, "static"), strict=True
    ):
        assert ours.mean() <= 1.02 * static.mean() + others_us
        assert np.percentile(ours, 99) <= 1.10 * np.percentile(static, 99) + others_us


def test_the_promise_is_kept_to_the_letter_where_requests_are_longer_than_works() -> None:
    kept = []
    for seed in range(120):
        scenario = Scenario(
            seed=seed,
            tenants=2 + seed % 3,
            requests=100,
            closed=seed % 2 == 0,
            load=(0.25, 0.5, 0.8)[seed % 3],
        )
        for ours, static in zip(
            latencies_us(scenario, "fico"), latencies_us(scenario, "static"), strict=True
        ):
            if static.mean() < SHORT_REQUEST_US:
                continue
            kept.append(
                ours.mean() <= 1.02 * static.mean()
                and np.percentile(ours, 99) <= 1.10 * np.percentile(static, 99)
            )
    assert len(kept) > 100
    assert np.mean(kept) >= 0.99


def test_alone_everything_is_on_all_units_in_one_piece_and_nothing_is_held() -> None:
    trace = even_trace(40, 100.0)
    tenant = _native.SimTenant([trace], (0, 2), None, 10)
    result = _native.simulate(SMS, [tenant], "fico", timeline=True)
    assert {piece["units"] for piece in result["timeline"]} == {(0, len(SMS))}
    assert {piece["launches"] for piece in result["timeline"]} == {(0, 40)}
    assert result["tenants"][0]["holds"] == 0


def test_a_graph_is_cut_where_another_tenant_may_come() -> None:
    heavy = _native.SimTenant([even_trace(40, 100.0)], (0, 4), None, 10)
    idle = _native.SimTenant([even_trace(4, 10.0)], (4, 8), [1e5])
    result = _native.simulate(SMS, [heavy, idle], "fico", timeline=True)
    ours = [piece for piece in result["timeline"] if piece["tenant"] == 0]
    assert max(piece["launches"][1] - piece["launches"][0] for piece in ours) <= 3


@pytest.mark.parametrize("policy", ["reef", "orion"])
def test_who_is_alone_goes_last_so_that_others_can_still_go_before_it(policy: str) -> None:
    """GIVEN a policy that puts everybody first WHEN one tenant's request is all there is THEN it is
    last, and who comes is first."""
    tenants = [
        _native.SimTenant([even_trace(40, 100.0)], (0, 4), [0.0, 10_000.0]),
        _native.SimTenant([even_trace(4, 10.0)], (4, 8), [1_000.0]),
    ]
    pieces = _native.simulate(SMS, tenants, policy, timeline=True)["timeline"]
    assert [(piece["tenant"], piece["level"]) for piece in pieces] == [(0, 0), (1, -5), (0, 0)]


def even_trace(kernels: int, kernel_us: float, fill: bool | None = None) -> _native.SimTrace:
    """A graph of equal kernels, that scale with the units or hardly; short ones (10 µs) hardly."""
    count = np.arange(1, len(SMS) + 1)
    fill = kernel_us > 10 if fill is None else fill
    grows = len(SMS) / count if fill else 1 + 0.3 / count
    return _native.SimTrace(
        duration_us=np.tile(kernel_us * grows, (kernels, 1)),
        gap_us=np.full(kernels, 1.0),
        blocks=np.full(kernels, 68 * 4 if fill else 34, np.uint32),
        blocks_per_sm=np.full(kernels, 1, np.uint32),
        threads=np.full(kernels, 256, np.uint32),
        registers=np.full(kernels, 32, np.uint32),
        shared_bytes=np.zeros(kernels, np.uint32),
        cluster=np.ones(kernels, np.uint32),
        sensitivity=np.full((kernels, 3), 0.1),
        pressure=np.full((kernels, 3), 0.2),
        right_units=np.full(kernels, len(SMS), np.uint32),
        kernel_class=np.zeros(kernels, np.uint8),
        bound=np.zeros(kernels, np.uint8),
        from_graph=True,
    )


LINGER_US = 50
"""The policy's setting, as it is unless set."""


def light_beside_heavy(
    arrivals_us: list[float] | None, values: dict[str, float]
) -> tuple[_native.SimResult, float, float]:
    """The run, the mean latency of the light tenant, and the requests of the heavy one a second."""
    light = _native.SimTenant([even_trace(40, 10.0)], (0, 2), arrivals_us, 60)
    heavy = _native.SimTenant([even_trace(60, 100.0)], (2, 8), None, 0 if arrivals_us else 60)
    result = _native.simulate(SMS, [light, heavy], "fico", values, timeline=True)
    first, second = result["tenants"]
    mean_us = float((first["end_us"] - first["arrival_us"]).mean())
    return result, mean_us, len(second["end_us"]) / result["end_us"] * 1e6


def test_who_is_well_ahead_of_its_slice_waits_for_a_short_request() -> None:
    arrivals_us = (20_000.0 + 5_000.0 * np.arange(60)).tolist()
    result, waited_us, heavy_rps = light_beside_heavy(arrivals_us, {})
    _, mean_us, heavy_without_rps = light_beside_heavy(arrivals_us, {"late_percent": -100})
    light, heavy = result["tenants"]
    assert light["holds"] == 0
    assert heavy["holds"] >= 45
    assert waited_us < 0.95 * mean_us
    # It waits for kernels that it would have begun on a few units and not have ended.
    assert heavy_rps > 0.95 * heavy_without_rps
    alone = [piece for piece in result["timeline"] if piece["tenant"] == 0]
    assert any(piece["units"] == (0, len(SMS)) for piece in alone)


def test_nobody_waits_for_a_tenant_that_is_always_there() -> None:
    result, _, _ = light_beside_heavy(None, {})
    # Until what it saves by its first requests is used up.
    assert result["tenants"][1]["holds"] <= 3
    units = {piece["tenant"]: piece["units"] for piece in result["timeline"][-20:]}
    assert units == {0: (0, 2), 1: (2, 8)}


def two_alike(
    trace: _native.SimTrace, arrivals_us: tuple[list[float], list[float]] | None
) -> list[_native.SimPiece]:
    """What two tenants of three units each, with the same requests, were granted."""
    tenants = [
        _native.SimTenant([trace], units, None if arrivals_us is None else arrivals_us[number], 20)
        for number, units in enumerate(((0, 3), (3, 6)))
    ]
    return _native.simulate(SMS, tenants, "fico", timeline=True)["timeline"]


def test_parts_are_for_requests_that_follow_each_other() -> None:
    trace = even_trace(20, 400.0, fill=False)
    assert {piece["units"] for piece in two_alike(trace, None)[-20:]} == {(0, 4), (4, 8)}
    # The same requests, side by side as well, but with a pause before each.
    together = (20_000.0 * np.arange(20)).tolist()
    assert {piece["units"] for piece in two_alike(trace, (together, together))} == {(0, 8)}


@pytest.mark.parametrize(
    ("before", "units"), [(10, {(0, 4), (4, 8)}), (5, {(0, 8)})], ids=["loop", "few"]
)
def test_a_loop_that_has_paused_once_still_is_one(before: int, units: set[tuple[int, int]]) -> None:
    # So many requests wait in the program from the begin, and one comes after a pause.
    arrivals_us = [0.0] * before + [100_000.0]
    pieces = two_alike(even_trace(20, 400.0, fill=False), (arrivals_us, arrivals_us))
    after = [piece for piece in pieces if piece["granted_us"] >= 100_000.0]
    assert {piece["units"] for piece in after[2:6]} == units


def test_requests_that_share_all_units_go_in_the_order_in_which_they_came() -> None:
    first = (20_000.0 * np.arange(20)).tolist()
    pieces = two_alike(even_trace(40, 100.0), (first, [time_us + 500 for time_us in first]))
    begins_us = {0: first, 1: [time_us + 500 for time_us in first]}
    levels = {
        slot: {
            piece["level"]
            for piece in pieces
            if piece["tenant"] == slot
            # While both have one: the second came, and the first, who has 4 ms, has not ended.
            and any(500 < piece["granted_us"] - time_us < 4000 for time_us in begins_us[0])
        }
        for slot in (0, 1)
    }
    assert max(levels[0]) < min(levels[1])


def test_after_a_wait_the_first_piece_is_short() -> None:
    arrivals_us = (20_000.0 + 5_000.0 * np.arange(60)).tolist()
    result, _, _ = light_beside_heavy(arrivals_us, {"span_percent": 100, "parts_span_us": 250})
    ours = [piece for piece in result["timeline"] if piece["tenant"] == 1]
    held = [piece for piece in ours if piece["granted_us"] > piece["wanted_us"]]
    # Some are held no longer than they can be, others until the short request has ended.
    ends_us = result["tenants"][0]["end_us"]
    until_the_end = [
        piece for piece in held if np.abs(ends_us - piece["granted_us"]).min() < LINGER_US
    ]
    assert len(until_the_end) >= 45
    assert {piece["launches"][1] - piece["launches"][0] for piece in until_the_end} == {1}
    assert max(piece["launches"][1] - piece["launches"][0] for piece in ours) == 3


@given(scenario=scenarios(deaths=True, quota_changes=True))
@settings(max_examples=200, deadline=None)
def test_a_tenant_waits_no_longer_than_the_request_that_goes_alone(scenario: Scenario) -> None:
    result = scenario.run("fico")
    pieces = result["timeline"]
    for piece in pieces:
        if piece["granted_us"] <= piece["wanted_us"]:
            continue
        # Somebody else has work on the device all the time, but for launches and boundaries.
        busy = sorted(
            (other["granted_us"], other["ended_us"] if other["ended_us"] >= 0 else np.inf)
            for other in pieces
            if other["tenant"] != piece["tenant"]
        )
        reached_us = piece["wanted_us"]
        for begin_us, end_us in busy:
            if begin_us <= reached_us + 1e-6:
                reached_us = max(reached_us, end_us)
        assert reached_us >= piece["granted_us"] - 1e-6


def test_static_stays_on_its_slice() -> None:
    scenario = Scenario(seed=3, tenants=3, requests=5, closed=True, load=0.5)
    for before, after in pairwise(sorted({p["units"] for p in scenario.run("static")["timeline"]})):
        assert before[1] <= after[0]


@pytest.mark.parametrize(
    ("policy", "values", "text"),
    [
        ("nosuch", {}, "no policy nosuch; there are fico, mps"),
        ("fico", {"nosuch": 1.0}, "no setting nosuch"),
        ("reef", {"in_turn": 1.5}, "in_turn cannot be 1.5"),
        ("krisp", {"slowdown_percent": -1.0}, "slowdown_percent cannot be -1"),
    ],
)
def test_wrong_settings_are_named(policy: str, values: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Scenario(seed=1, tenants=1, requests=1, closed=True, load=1).run(policy, values)


def test_a_python_policy_that_fails_is_not_silent() -> None:
    class Broken:
        def decide(self, view: _native.View) -> _native.Grant:
            raise LookupError(view.now_us)

    trace = random_trace(np.random.default_rng(1), len(SMS))
    with pytest.raises(LookupError):
        _native.simulate(SMS, [_native.SimTenant([trace], (0, 8), None, 1)], Broken())
