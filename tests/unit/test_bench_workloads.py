"""Arrivals: their rates and spread, the same for the same seed; recordings and their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico.bench import arrivals
from fico.bench.arrivals import BURSTY_CV2, Times, gap_cv2
from fico.bench.recording import read_recording
from fico.bench.workload import LOADS, WORKLOADS, arrival_times, check_workload, load_of
from fico.runtime.errors import UsageError

SEEDS = st.integers(0, 2**32)
RATES = st.floats(0.1, 1e4)

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0781490,110,27
"""


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def in_window(times: Times, window_us: float) -> bool:
    return bool((np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < window_us)


@given(st.sampled_from(sorted(LOADS)), RATES, st.integers(1, 500), SEEDS)
@settings(max_examples=200, deadline=None)
def test_arrivals_are_sorted_within_the_window_and_determined_by_the_seed(
    word: str, capacity_rps: float, count: int, seed: int
) -> None:
    window_us = count / capacity_rps * 1e6
    times = arrival_times(word, capacity_rps, window_us, rng(seed))
    assert len(times) >= 1
    assert in_window(times, window_us)
    assert (times == arrival_times(word, capacity_rps, window_us, rng(seed))).all()


@given(st.sampled_from(["sparse", "medium", "dense"]), RATES, SEEDS)
@settings(max_examples=50, deadline=None)
def test_poisson_arrivals_have_their_rate_and_spread(
    word: str, capacity_rps: float, seed: int
) -> None:
    # 4000 expected: a deviation of 6 sigma is a mistake.
    window_us = 4000 / (LOADS[word] * capacity_rps) * 1e6
    times = arrival_times(word, capacity_rps, window_us, rng(seed))
    assert abs(len(times) - 4000) < 6 * 4000**0.5
    assert 0.7 < gap_cv2(times) < 1.4


@given(RATES, st.integers(60, 2000), SEEDS)
@settings(max_examples=100, deadline=None)
def test_bursts_have_their_rate_and_spread_in_every_run(
    capacity_rps: float, expected: int, seed: int
) -> None:
    window_us = expected / (LOADS["bursty"] * capacity_rps) * 1e6
    times = arrival_times("bursty", capacity_rps, window_us, rng(seed))
    assert abs(len(times) - expected) <= expected / 10
    assert gap_cv2(times) >= BURSTY_CV2


def test_bursts_are_not_all_alike() -> None:
    draws = [arrivals.on_off(1e-3, 500e3, rng(seed)) for seed in range(20)]
    assert len({len(times) for times in draws}) > 5
    # Drawn again or not, an on-off process has bursts: most gaps are far below the mean.
    assert all(np.median(np.diff(times)) < 0.6 * np.diff(times).mean() for times in draws)


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=50).map(sorted),
    st.integers(1, 300),
    RATES,
    SEEDS,
)
@settings(max_examples=200, deadline=None)
def test_a_replay_has_the_rate_asked_for(
    recorded: list[float], count: int, capacity_rps: float, seed: int
) -> None:
    window_us = count / capacity_rps * 1e6
    recording = np.array(recorded)
    times = arrivals.replay(recording, capacity_rps / 1e6, window_us, rng(seed))
    assert len(times) == count
    assert in_window(times, window_us * (1 + 1e-9))


def test_a_replay_keeps_the_gaps_of_its_piece() -> None:
    recorded = np.array([0.0, 1, 3, 6, 10])  # the gap round the end is their mean, 2.5
    times = arrivals.replay(recorded, 1.0, 5.0, rng(3))
    gaps = np.diff(times) / np.diff(times)[0]
    cycle = np.array([1, 2, 3, 4, 2.5] * 2)
    assert any(
        np.allclose(gaps, cycle[start + 1 : start + 5] / cycle[start + 1]) for start in range(5)
    )


def test_recordings_of_both_forms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(AZURE)
    assert read_recording(path) == pytest.approx([0, 52000, 98189])
    newer = tmp_path / "n.csv"
    newer.write_text(
        "A,TIMESTAMP\n1,2024-05-10 00:00:00.009930+00:00\n\n2,2024-05-10 01:00:01+01:00\n"
    )
    assert read_recording(newer) == pytest.approx([0, 990070])
    assert load_of(f"trace:{path}") == 0.5
    assert load_of(f"trace:{path}@0.8") == 0.8


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: there is no column TIMESTAMP"),
        ("time\n1\n", ":1: there is no column TIMESTAMP"),
        (AZURE + "yesterday,1,2\n", ":5: timestamp 'yesterday' is not understood"),
        (AZURE + "2023-13-16 18:17:04,1,2\n", ":5: timestamp '2023-13-16 18:17:04' is not"),
        ("A,TIMESTAMP\n1\n", ":2: timestamp '' is not understood"),
        (AZURE + "2023-11-16 18:17:03,1,2\n", ":5: 2023-11-16 18:17:03 is before the line above"),
        ("TIMESTAMP\n2023-11-16 18:17:03\n", ": 1 arrivals at one time are no recording"),
        ("\xff\xfe", ":1: there is no column TIMESTAMP"),
    ],
)
def test_a_bad_recording_is_named_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refusal:
        check_workload(f"trace:{path}")
    assert str(refusal.value).startswith(f"{path}{complaint}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("heavy", "there is no workload 'heavy'; choose from closed, sparse"),
        ("trace:", "workload 'trace:' names no file"),
        ("trace:x.csv@fast", "load 'fast' of workload 'trace:x.csv@fast' is not understood"),
        ("trace:x.csv@0", "load '0' of workload"),
        ("trace:nowhere.csv", "nowhere.csv cannot be read: No such file"),
    ],
)
def test_a_bad_workload_is_refused(word: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_workload(word)
    assert str(refusal.value).startswith(complaint)


def test_all_named_workloads_are_known() -> None:
    for word in WORKLOADS:
        if not word.startswith("trace:"):
            check_workload(word)
