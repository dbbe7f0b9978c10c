"""From quotas to units: the rules that hold for every session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fico._native import share_units

WHOLE_PPM = 1_000_000
UNITS = st.integers(min_value=1, max_value=64)
QUOTA = st.one_of(
    st.tuples(st.integers(1, WHOLE_PPM), st.just(0)),
    st.tuples(st.just(0), st.integers(1, 64)),
    st.just((0, 0)),
)


@given(quotas=st.lists(QUOTA, min_size=1, max_size=12), unit_count=UNITS)
def test_shares_fit(quotas: list[tuple[int, int]], unit_count: int) -> None:
    """GIVEN any quotas THEN they are refused, or every tenant has units and none is given twice."""
    shares = share_units(quotas, unit_count)
    reserved = sum(units * WHOLE_PPM // unit_count if units else ppm for ppm, units in quotas)
    if shares:
        assert reserved <= WHOLE_PPM
        assert min(shares) >= 1
        assert sum(shares) <= unit_count
        for (_, units), share in zip(quotas, shares, strict=True):
            assert not units or share == units
    elif reserved <= WHOLE_PPM:
        fixed = sum(units for _, units in quotas)
        assert fixed + sum(1 for _, units in quotas if not units) > unit_count


@given(parts=st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_a_whole_is_given_whole(parts: list[int]) -> None:
    """GIVEN percentages that add up to 100 and enough units THEN no unit is left."""
    total = sum(parts)
    quotas = [(part * WHOLE_PPM // total, 0) for part in parts]
    quotas[0] = (quotas[0][0] + WHOLE_PPM - sum(ppm for ppm, _ in quotas), 0)
    assert sum(share_units(quotas, 16)) == 16


@given(parts=st.lists(st.integers(1, 1000), min_size=2, max_size=4))
def test_rounding_is_by_less_than_a_unit(parts: list[int]) -> None:
    """GIVEN shares of at least a unit each THEN each tenant's is rounded to a neighbour."""
    unit_ppm = WHOLE_PPM // 16
    total = sum(parts)
    quotas = [max(unit_ppm, part * (WHOLE_PPM - unit_ppm * len(parts)) // total) for part in parts]
    shares = share_units([(ppm, 0) for ppm in quotas], 16)
    for ppm, share in zip(quotas, shares, strict=True):
        assert abs(share - ppm * 16 / WHOLE_PPM) < 1


@given(others=st.lists(st.integers(1, 20), min_size=0, max_size=3), rest=st.integers(1, 4))
def test_tenants_without_a_quota_share_evenly(others: list[int], rest: int) -> None:
    shares = share_units([(percent * 10_000, 0) for percent in others] + [(0, 0)] * rest, 16)
    without = shares[len(others) :]
    assert max(without) - min(without) <= 1
    assert sum(shares) == 16
