"""Quotas and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.runtime.errors import UsageError
from fico.runtime.quota import NO_QUOTA, PPM, Quota, format_size, parse_quota, parse_size


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("40%", Quota(ppm=400_000)),
        ("37.5%", Quota(ppm=375_000)),
        (" 100 % ", Quota(ppm=PPM)),
        ("0.0001%", Quota(ppm=1)),
        ("6u", Quota(units=6)),
        ("16U", Quota(units=16)),
    ],
)
def test_a_quota_is_a_share_or_units(text: str, quota: Quota) -> None:
    assert parse_quota(text) == quota


@pytest.mark.parametrize(
    "text",
    [
        "",
        "40",
        "0%",
        "0.00001%",
        "100.1%",
        "-5%",
        "0u",
        "1.5u",
        "u",
        "%",
        "40%%",
        "forty",
        "nan%",
        "1e1%",
    ],
)
def test_a_wrong_quota_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_quota(text)
    assert refusal.value.remedy


@given(
    st.one_of(
        st.integers(1, PPM).map(lambda n: Quota(ppm=n)),
        st.integers(1, 64).map(lambda n: Quota(units=n)),
    )
)
def test_what_is_shown_reads_as_the_same_quota(quota: Quota) -> None:
    assert parse_quota(str(quota)) == quota


def test_no_quota_is_shown_as_none() -> None:
    assert str(NO_QUOTA) == "none"


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("20GiB", 20 << 30),
        ("20G", 20 << 30),
        ("20g", 20 << 30),
        ("20GB", 20 * 10**9),
        ("512MiB", 512 << 20),
        ("1.5 GiB", 3 << 29),
        ("2T", 2 << 40),
        ("100", 100),
        ("100B", 100),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GiB", "20Gi", "20 GiBs", "-1G", "0", "0GiB", "40%"])
def test_a_wrong_size_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_size(text)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(20 << 30, "20 GiB"), (3 << 29, "1.5 GiB"), (300, "300 B"), (1 << 50, "1024 TiB")],
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
