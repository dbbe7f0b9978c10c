"""Figures of runs against numpy; the promise; validity; the headline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.bench.cell import Cell
from fico.bench.device import Outcome, Served
from fico.bench.fidelity import differences, order_agrees
from fico.bench.headline import headline
from fico.bench.metrics import TenantMetrics, cell_metrics, promise_kept, tenant_metrics
from fico.bench.validity import drift, is_overloaded, reasons_against

LATENCIES = st.lists(st.floats(1, 1e6), min_size=1, max_size=200)


def served(latencies_us: list[float], every_us: float = 1000.0) -> Served:
    arrival_us = np.arange(len(latencies_us), dtype=np.float64) * every_us
    return Served(arrival_us, arrival_us + np.array(latencies_us), 5e6)


@given(LATENCIES, st.floats(1, 1e6))
def test_figures_are_those_of_numpy(latencies_us: list[float], window_us: float) -> None:
    one = served(latencies_us)
    metrics = tenant_metrics(one, window_us)
    latencies_ms = np.array(latencies_us) / 1e3
    assert metrics.mean_ms == pytest.approx(latencies_ms.mean())
    for percent in (50, 95, 99):
        expected = np.percentile(latencies_ms, percent)
        assert getattr(metrics, f"p{percent}_ms") == pytest.approx(expected, abs=1e-6)
    ended = sum(end < window_us for end in one.end_us)
    assert metrics.throughput_rps == pytest.approx(ended / window_us * 1e6)
    assert metrics.requests == len(latencies_us)
    assert metrics.sm_s == 5


def test_every_tenant_counts_the_same() -> None:
    fast = tenant_metrics(served([100.0] * 99), 1e5)
    slow = tenant_metrics(served([900.0]), 1e5)
    cell = cell_metrics([fast, slow])
    assert cell.mean_ms == pytest.approx(0.5)
    assert cell.p99_ms == pytest.approx(0.5)
    assert cell.requests == 100
    assert cell.throughput_rps == pytest.approx(fast.throughput_rps + slow.throughput_rps)


def test_a_tenant_without_requests_has_no_latency() -> None:
    metrics = tenant_metrics(Served(np.empty(0), np.empty(0), None), 1e6)
    assert metrics.requests == 0
    assert np.isnan(metrics.mean_ms)
    assert metrics.sm_s is None


@given(st.lists(st.tuples(st.floats(0.5, 1.5), st.floats(0.5, 1.5)), min_size=1, max_size=4))
def test_the_promise_holds_when_it_holds_for_every_tenant(
    factors: list[tuple[float, float]],
) -> None:
    static = [tenant_metrics(served([1000.0 * n, 3000.0 * n]), 1e6) for n in range(1, 5)]
    static = static[: len(factors)]
    ours = [
        replace(metrics, mean_ms=metrics.mean_ms * mean, p99_ms=metrics.p99_ms * p99)
        for metrics, (mean, p99) in zip(static, factors, strict=True)
    ]
    expected = all(mean <= 1.02 and p99 <= 1.10 for mean, p99 in factors)
    on_the_edge = any(abs(m - 1.02) < 1e-9 or abs(p - 1.1) < 1e-9 for m, p in factors)
    assert on_the_edge or promise_kept(ours, static) == expected


def test_a_run_says_why_it_does_not_count() -> None:
    cell = Cell.of(["vgg16-bs8", "vgg16-bs8"], [], "closed")
    steady, few = served([1000.0] * 90), served([1000.0] * 29)
    rising = served([1000.0] * 45 + [1200.0] * 45)
    assert reasons_against(cell, Outcome((steady, steady))) == []
    assert reasons_against(cell, Outcome((steady, few))) == [
        "tenant 2 (vgg16-bs8-graph) has 29 requests, fewer than 30"
    ]
    assert reasons_against(cell, Outcome((rising, rising))) == [
        "latencies drift by +20% within the run"
    ]
    # What one gains from the other is the policy's doing.
    falling = served([1200.0] * 45 + [1000.0] * 45)
    assert reasons_against(cell, Outcome((rising, falling))) == []
    assert reasons_against(cell, Outcome((steady, steady), ("the clocks fell",))) == [
        "the clocks fell"
    ]
    # Queues come and go: drift is no reason in open loop.
    assert reasons_against(Cell.of(["vgg16-bs8"], [], "dense"), Outcome((rising,))) == []
    assert drift(few) == 0


def test_long_and_short_requests_in_turn_are_no_drift() -> None:
    """GIVEN as many long as short ones WHEN one third has one more of these, another of those THEN
    that is no drift; nor is a single stall."""
    in_turn = served([1000.0, 2500.0] * 67)
    assert abs(drift(in_turn)) < 0.05
    stalled = served([1000.0] * 100 + [80_000.0] + [1000.0] * 34)
    assert drift(stalled) == pytest.approx(0)


def test_a_backlog_at_the_end_is_an_overload() -> None:
    one = served([1000.0] * 100)
    assert not is_overloaded(one, 100e3)
    assert is_overloaded(served([1000.0 + 500 * n for n in range(100)]), 100e3)
    # A few that came last are none.
    assert not is_overloaded(served([5000.0] * 20), 20e3)


def row(cell: str, policy: str, mean_ms: float, **more: Any) -> dict[str, Any]:
    return {
        "cell": cell,
        "policy": policy,
        "n": 2,
        "workload": "dense",
        "mean_ms": mean_ms,
        "p99_ms": 3 * mean_ms,
        "promise_kept": True,
        "valid": True,
        "overloaded": False,
        **more,
    }


def test_the_headline_compares_cell_by_cell() -> None:
    rows = [
        row("a", "fico", 5.0),
        row("a", "mps", 10.0),
        row("a", "reef", 20.0),
        row("a", "krisp", 5.0),
        row("a", "orion", 5.0),
        row("b", "fico", 103.0, promise_kept=False),
        row("b", "mps", 100.0),
        row("b", "reef", 100.0),
        row("b", "krisp", 106.0),
        row("b", "orion", 206.0),
        row("b", "orion[all_first=0]", 1.0),
        row("c", "fico", 1.0, n=1),
        row("c", "mps", 9.0, n=1),
    ]
    head = headline(rows)
    assert head["cells"] == 2
    # a: 5 against 10; b: 103 against 128.
    assert head["mean_below_average_pct"] == pytest.approx(
        (50 + (1 - 103 / 128) * 100) / 2, abs=1e-3
    )
    assert head["best_rival"] == "krisp"
    assert head["mean_below_best_rival_pct"] == pytest.approx(
        (0 + (1 - 103 / 106) * 100) / 2, abs=1e-3
    )
    assert head["mean_below_best_of_each_cell_pct"] == pytest.approx((0 - 3) / 2, abs=1e-3)
    assert head["over_mps"] == [{"cell": "b", "over_pct": 3.0}]
    assert head["promise_kept_pct"] == 50
    assert head["p99_below_mps_at_dense_pct"] == pytest.approx((50 - 3) / 2, abs=1e-3)
    assert list(head["policies"]) == ["fico", "mps", "reef", "krisp", "orion"]
    assert head["policies"]["reef"]["mean_ms"] == 60


def test_what_is_not_valid_or_not_run_counts_nowhere() -> None:
    head = headline([row("a", "fico", 1.0), row("a", "mps", 9.0, valid=False)])
    assert head["invalid"] == ["mps: a"]
    assert head["mean_below_average_pct"] is None
    assert head["best_rival"] is None
    assert head["cells_over_mps"] == 0
    assert head["policies"]["mps"]["mean_ms"] is None
    assert headline([])["cells"] == 0


def test_metrics_are_plain_numbers() -> None:
    metrics = tenant_metrics(served([1.0, 2.0]), 1e6)
    assert all(type(getattr(metrics, name)) in (int, float) for name in TenantMetrics.__slots__)


def test_differences_are_of_what_is_valid_in_both() -> None:
    first = {"cells": [row("a", "mps", 11.0), row("a", "fico", 9.0), row("b", "mps", 1.0)]}
    second = {
        "cells": [row("a", "mps", 10.0), row("a", "fico", 12.0), row("b", "mps", 1.0, valid=False)]
    }
    found = differences(first, second)
    assert [round(difference.error_pct, 6) for difference in found] == [10, -25]
    assert order_agrees(found) == {"a": False}
    for one in second["cells"]:
        one["n"] = 1
    assert order_agrees(found) == {}


def test_policies_that_are_alike_are_in_no_order() -> None:
    first = {"cells": [row("a", "mps", 2.0), row("a", "fico", 1.0), row("a", "reef", 3.0)]}
    alike = {"cells": [row("a", "mps", 1.0), row("a", "fico", 1.01), row("a", "reef", 3.0)]}
    apart = {"cells": [row("a", "mps", 1.0), row("a", "fico", 1.03), row("a", "reef", 3.0)]}
    assert order_agrees(differences(first, alike)) == {"a": True}
    assert order_agrees(differences(first, apart)) == {"a": False}
