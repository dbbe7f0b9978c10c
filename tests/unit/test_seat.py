"""Tenants of one session decide by what each publishes in the arena."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fico import _native
from helpers.traces import MODELS, SMS, UNITS, synthetic

FOLDERS = itertools.count()


class Session:
    """An arena and a seat for each of its tenants, all in this process."""

    def __init__(self, folder: Path, policy: str, tenants: int) -> None:
        self.path = folder / f"arena{next(FOLDERS)}"
        self.arena = _native.Arena.create(
            str(self.path), f"GPU-{uuid.uuid4()}", "test", "1", [int(n) for n in SMS], True, policy
        )
        self.members = [self.arena.join(f"t{i}", os.getpid()) for i in range(tenants)]
        self.seats = [_native.Seat(str(self.path), slot) for slot, _ in self.members]
        self.refresh()

    def refresh(self) -> list[bool]:
        return [seat.refresh() for seat in self.seats]


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., Session]:
    return lambda policy="fico", tenants=2: Session(tmp_path, policy, tenants)


def test_one_sees_the_other_come_and_go(session: Callable[..., Session]) -> None:
    a, b = session().seats
    a.begin(0, synthetic("vgg16"))
    assert a.want(0) is not None
    assert not a.is_contended
    b.begin(10, synthetic("resnet152"))
    b.want(10)
    assert b.is_contended
    a.advance(20)
    a.want(20)
    assert a.is_contended
    b.end(30)
    a.advance(30)
    a.want(30)
    assert not a.is_contended


def claimed_us(a: _native.Seat, trace: _native.SimTrace) -> float:
    """What a request's first piece is expected to take on the units that it claims."""
    a.begin(10, trace)
    a.want(10)
    expected_us = a.claimed_us
    a.end(20)
    return expected_us


def slice_us(a: _native.Seat, trace: _native.SimTrace) -> float:
    """What a request is expected to take on the tenant's slice."""
    a.begin(10, trace)
    expected_us = a.slice_us
    a.end(20)
    return expected_us


def test_a_tenant_learns_how_long_its_works_take_on_units_of_its_own(
    session: Callable[..., Session],
) -> None:
    made = session()
    a, b = made.seats
    assert [row["learned"] for row in made.arena.tenants()] == [1.0, 1.0]
    light = synthetic("mobilenet_v2")
    assert claimed_us(a, light) == 0  # it is alone, and claims nothing
    b.begin(0, synthetic("vgg16"))
    b.want(0)
    before_us = claimed_us(a, light)
    assert before_us > 0

    def learned() -> float:
        expected_us = claimed_us(a, light)
        row = next(row for row in made.arena.tenants() if row["name"] == "t0")
        assert row["learned"] == pytest.approx(expected_us / before_us)
        return expected_us / before_us

    def took(ratio: float, share: float = 1.0) -> None:
        expected_us = share * slice_us(a, light)
        a.learn(ratio * expected_us, expected_us)

    took(1.1)
    assert learned() == pytest.approx(1.02)  # the profile counts as four
    for _ in range(40):
        took(1.0)
    assert learned() == pytest.approx(1.02)
    took(1.2)
    assert learned() == pytest.approx(1.02 * 1.01)  # a later one is a twentieth
    took(0.8, share=0.1)
    assert learned() == pytest.approx(1.02 * 1.01 * 0.999)  # and a tenth of it a tenth of that


@pytest.mark.parametrize("change", ["quota", "neighbour", "policy", "for a while", "anew"])
def test_what_was_learned_is_of_the_present_company(
    session: Callable[..., Session], change: str
) -> None:
    """GIVEN a tenant that has learned WHEN slices, tenants or the policy change, if only for a
    while in which it does not look, or the policy is set anew THEN it has not."""
    made = session(tenants=3)
    a, b, _ = made.seats
    trace = synthetic("mobilenet_v2")
    b.begin(0, synthetic("vgg16"))
    b.want(0)
    claimed_us(a, trace)
    for _ in range(50):
        a.learn(0.9 * slice_us(a, trace), slice_us(a, trace))
    claimed_us(a, trace)

    def learned() -> float:
        return next(row["learned"] for row in made.arena.tenants() if row["name"] == "t0")

    assert learned() < 0.8
    if change == "quota":
        made.arena.update("t0", quota_units=3)
    elif change == "neighbour":
        made.arena.leave(*made.members[2])
    elif change == "policy":
        made.arena.set_policy("fico", {"credit_percent": 40})
    else:
        if change == "for a while":
            made.arena.set_policy("mps")
        made.arena.set_policy("fico")
    made.refresh()
    claimed_us(a, trace)
    assert learned() == pytest.approx(1.0, abs=0.15)  # what the place of its slice says


class Equals:
    """Two equal tenants with a request each at the same time, again and again."""

    def __init__(self, made: Session) -> None:
        self._seats = made.seats
        self._trace = synthetic("vgg16")
        self._now_us = 0.0

    def has_part(self, lasts: float, pause_us: float = 1000.0) -> bool:
        """Whether one has a part. Requests take so many times as long as on the slice; the next
        ones come after the pause, which by itself is too long for a loop."""
        a, b = self._seats
        b.begin(self._now_us, self._trace)
        b.want(self._now_us)
        a.begin(self._now_us, self._trace)
        piece = a.want(self._now_us)
        assert piece is not None
        self._now_us += lasts * a.slice_us
        a.end(self._now_us)
        b.end(self._now_us)
        self._now_us += pause_us
        return piece[2]


def test_who_is_crowded_where_all_units_are_shared_gets_its_part(
    session: Callable[..., Session],
) -> None:
    """GIVEN equal tenants that share all units WHEN requests take longer than on the slice THEN
    each has its part, AND they share again when that is long ago."""
    equals = Equals(session())
    assert not any(equals.has_part(lasts=0.9) for _ in range(20))
    crowded = [equals.has_part(lasts=1.3) for _ in range(20)]
    assert not any(crowded[:3])  # that may happen
    assert crowded[-1]
    again = [equals.has_part(lasts=1.0) for _ in range(2000)]
    assert again[:300] == [True] * 300
    assert not again[-1]


def test_that_closed_loops_crowd_each_other_says_nothing_of_requests_that_come_and_go(
    session: Callable[..., Session],
) -> None:
    """GIVEN equal tenants that have taken longer than on their slices as closed loops WHEN they
    come with pauses THEN they share all units."""
    made = session()
    made.arena.set_policy("fico", {"overlap_percent": 100})  # parts are for the crowded alone
    made.refresh()
    equals = Equals(made)
    loops = [equals.has_part(lasts=1.3, pause_us=10) for _ in range(30)]
    assert not any(loops[:3])
    assert loops[-1]
    # A closed loop that has paused once still is one.
    assert [equals.has_part(lasts=1.3) for _ in range(3)] == [True, True, False]


def test_alone_in_the_session_a_graph_goes_out_whole(session: Callable[..., Session]) -> None:
    (only,) = session(tenants=1).seats
    only.begin(0, synthetic("resnet152"))
    assert not only.has_company
    piece = only.want(0)
    assert piece is not None
    units, _, _, works = piece
    assert units == (0, UNITS)
    assert works == (0, only.works)
    assert only.works > 10


def test_who_gives_no_sign_of_life_is_taken_for_stopped(session: Callable[..., Session]) -> None:
    a, b = session().seats
    a.begin(0, synthetic("vgg16"))
    a.want(0)
    b.begin(0, synthetic("resnet152"))
    b.want(0)
    assert b.is_contended
    deadline = time.monotonic() + 5
    while b.is_contended and time.monotonic() < deadline:
        b.advance(1)
        b.want(1)
    assert not b.is_contended
    a.beat()
    b.advance(2)
    b.want(2)
    assert b.is_contended


def test_who_comes_no_further_hangs_and_keeps_its_units(session: Callable[..., Session]) -> None:
    """GIVEN a tenant that lives, and whose work does not end THEN others are not decided on by it,
    but for the units that it works on."""
    a, b = session("lithos").seats
    a.begin(0, synthetic("vgg16"))
    b.begin(0, synthetic("resnet152"))
    first = a.want(0)
    b.want(0)
    assert b.is_contended
    a.beat()
    b.advance(1e9)
    second = b.want(1e9)
    assert not b.is_contended
    assert first is not None
    assert second is not None
    assert first[2]
    assert second[2]
    assert not set(range(*first[0])) & set(range(*second[0]))


def test_what_a_tenant_claimed_is_free_when_it_has_left(session: Callable[..., Session]) -> None:
    made = session("lithos")
    a, b = made.seats
    a.begin(0, synthetic("vgg16"))
    a.want(0)
    b.begin(0, synthetic("vgg16"))
    shared = b.want(0)
    assert shared is not None
    assert shared[0] != (0, UNITS)
    made.arena.leave(*made.members[0])
    b.refresh()
    b.advance(1)
    whole = b.want(1)
    assert whole is not None
    assert whole[0] == (0, UNITS)


def test_who_comes_into_a_slot_is_not_who_left_it(session: Callable[..., Session]) -> None:
    made = session()
    a, b = made.seats
    a.begin(0, synthetic("vgg16"))
    a.want(0)
    made.arena.leave(*made.members[0])
    made.arena.join("new", os.getpid())
    # What the one that left still says is not said for the new one.
    a.advance(1)
    a.want(1)
    b.refresh()
    b.begin(1, synthetic("vgg16"))
    b.want(1)
    assert not b.is_contended
    assert b.has_company


def test_who_left_the_session_ends_its_request(session: Callable[..., Session]) -> None:
    made = session()
    a, _ = made.seats
    a.begin(0, synthetic("vgg16"))
    a.want(0)
    made.arena.leave(*made.members[0])
    assert not a.refresh()
    a.advance(1)
    assert a.want(1) is not None
    a.end(2)
    made.arena.join("new", os.getpid())
    assert not a.refresh()


def test_a_tenant_that_left_is_not_there_any_more(session: Callable[..., Session]) -> None:
    made = session()
    a, b = made.seats
    a.begin(0, synthetic("vgg16"))
    a.want(0)
    made.arena.leave(*made.members[0])
    b.refresh()
    b.begin(0, synthetic("resnet152"))
    b.want(0)
    assert not b.is_contended
    assert not b.has_company


def test_policy_and_settings_change_between_two_decisions(session: Callable[..., Session]) -> None:
    made = session()
    made.arena.set_policy("krisp", {"slowdown_percent": 50.0})
    made.refresh()
    a, _ = made.seats
    a.begin(0, synthetic("densenet201"))
    small = a.want(0)
    made.arena.set_policy("krisp", {"slowdown_percent": 0.0})
    assert a.refresh()
    a.advance(1)
    large = a.want(1)
    assert small is not None
    assert large is not None
    assert large[0][1] - large[0][0] > small[0][1] - small[0][0]


def test_a_session_that_is_not_scheduled_has_no_decisions(session: Callable[..., Session]) -> None:
    made = session()
    for policy in ("static", "mps", "shuffle"):
        made.arena.set_policy(policy)
        assert made.refresh() == [False, False]
    made.arena.set_policy("fico", {"span_us": 100.0})
    assert made.arena.policy_settings == {"span_us": 100.0}
    assert made.refresh() == [True, True]


def test_unknown_policies_and_settings_are_refused(session: Callable[..., Session]) -> None:
    arena = session().arena
    with pytest.raises(_native.ArenaError, match=r"can't have policy 'timeslice'.*fico"):
        arena.set_policy("timeslice")
    with pytest.raises(_native.ArenaError, match="colour"):
        arena.set_policy("fico", {"colour": 1.0})
    with pytest.raises(_native.ArenaError, match="colour"):
        arena.set_policy("static", {"colour": 1.0})
    assert arena.policy == "fico"


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 400), st.sampled_from(sorted(MODELS))), max_size=60
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, policy=st.sampled_from(["fico", "lithos", "krisp", "jumble"]))
def test_claims_never_overlap(
    steps: list[tuple[int, float, str]], policy: str, tmp_path: Path
) -> None:
    """GIVEN tenants that begin, go on and end in any order THEN what one claims no other claims,
    and every piece goes on where the last one ended."""
    made = Session(tmp_path, policy, 4)
    works: list[int | None] = [None] * 4
    claims: dict[int, set[int]] = {}
    now_us = 0.0
    for slot, later_us, model in steps:
        now_us += later_us
        seat = made.seats[slot]
        position = works[slot]
        for each in made.seats:
            each.beat()
        if position is None:
            seat.begin(now_us, synthetic(model))
            position = 0
        else:
            seat.advance(now_us)
        if position == seat.works:
            seat.end(now_us)
            works[slot] = None
            claims.pop(slot, None)
            continue
        piece = seat.want(now_us)
        claims.pop(slot, None)
        works[slot] = position
        if piece is None:
            continue
        (lo, hi), level, claimed, (first, last) = piece
        assert first == position < last <= seat.works
        assert 0 <= lo < hi <= UNITS
        assert -5 <= level <= 0
        works[slot] = last
        if claimed:
            assert not any(set(range(lo, hi)) & other for other in claims.values())
            claims[slot] = set(range(lo, hi))
