"""The figures of a light tenant beside a heavy one, on results that were made up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.bench.alone import Alone, alone_by_model, latencies_us
from fico.bench.cell import Cell
from fico.bench.device import Outcome, Served
from fico.bench.light import goals_met, is_light_cell, light_figures
from fico.bench.policy import parse_policy
from fico.bench.promise import promise_rows
from fico.bench.store import Header, Run, save_run, write_json

ROOT = Path(__file__).parents[2]
LIGHT, HEAVY = "mobilenet_v2-bs1", "vgg16-bs32"
COUNT = 100


def loop(each_us: float, count: int = COUNT) -> Served:
    """A closed loop of equal requests."""
    ends = each_us * np.arange(1.0, count + 1)
    return Served(ends - each_us, ends, None)


def run(cell: Cell, policy: str, served: Sequence[Served], window_us: float = 1e6) -> Run:
    return Run(cell, parse_policy(policy), window_us, Outcome(tuple(served)))


def alone(model: str, each_us: float) -> Run:
    return run(Cell.of([model], [], "closed"), "mps", [loop(each_us)])


ALONE = [alone(LIGHT, 500.0), alone(HEAVY, 8000.0)]
CLOSED = Cell.of([LIGHT, HEAVY], [60, 40], "closed")
ARRIVING = Cell.of([LIGHT, HEAVY], [60, 40], "medium+closed")


def arriving(policy: str, each_us: float, heavy_us: float) -> Run:
    """A request of the light one every 10 ms, 100 in a second: a twentieth of the time."""
    at = 10e3 * np.arange(float(COUNT))
    return run(ARRIVING, policy, [Served(at, at + each_us, None), loop(heavy_us)])


def only(rows: Sequence[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def test_both_in_closed_loop() -> None:
    runs = [
        run(CLOSED, "mps", [loop(2000.0), loop(10e3)]),
        run(CLOSED, "fico", [loop(700.0), loop(12e3)]),
        *ALONE,
    ]
    rows, goals = light_figures(runs, runs, 1)
    assert len(rows) == 2
    mps, fico = only(rows, policy="mps"), only(rows, policy="fico")
    assert mps["light_p99_ratio"] == pytest.approx(4)
    assert mps["rates_sum"] == pytest.approx(500 / 2000 + 8 / 10)
    assert mps["rates_over_mps"] == 0
    assert not mps["light_p99_met"]
    assert not mps["rate_met"]
    assert fico["light_alone_p99_ms"] == pytest.approx(0.5)
    assert fico["light_p99_ratio"] == pytest.approx(1.4)
    assert fico["rates_over_mps"] == pytest.approx(500 / 700 + 8 / 12 - 1.05)
    assert fico["quotas"] == [60, 40]
    met = only(goals, policy="fico")
    assert (met["cells"], met["light_p99_met"], met["rate_met"], met["both_met"]) == (1, 1, 1, 1)
    assert only(goals, policy="mps")["both_met"] == 0


def test_the_light_ones_requests_arriving() -> None:
    runs = [arriving("fico", 600.0, 9e3), arriving("mps", 1500.0, 8.4e3), *ALONE]
    rows, goals = light_figures(runs, runs, 1)
    fico, mps = only(rows, policy="fico"), only(rows, policy="mps")
    # Far apart, so nobody would wait alone.
    assert fico["light_p99_ratio"] == pytest.approx(600 / 500)
    assert fico["heavy_of_rest"] == pytest.approx(8 / 9 / 0.95)
    assert fico["rates_sum"] is None
    assert mps["heavy_of_rest"] == pytest.approx(8 / 8.4 / 0.95)
    assert only(goals, policy="fico")["both_met"] == 1
    assert only(goals, policy="mps")["light_p99_met"] == 0
    assert only(goals, policy="mps")["rate_met"] == 1


def test_what_is_not_valid_is_shown_and_not_counted() -> None:
    few = run(CLOSED, "fico", [loop(500.0), loop(9e3, 10)])
    runs = [few, run(CLOSED, "mps", [loop(2000.0), loop(10e3)]), *ALONE]
    rows, goals = light_figures(runs, runs, 1)
    assert not only(rows, policy="fico")["valid"]
    assert only(rows, policy="fico")["light_p99_met"]
    assert only(goals, policy="fico")["valid"] == 0
    assert only(goals, policy="fico")["light_p99_met"] == 0
    assert only(goals, policy="fico")["worst_p99_ratio"] is None


def test_without_the_models_alone_there_are_no_ratios() -> None:
    runs = [run(CLOSED, "fico", [loop(500.0), loop(9e3)]), arriving("fico", 600.0, 9e3)]
    rows, goals = light_figures(runs, ALONE[1:], 1)
    assert all(row["light_p99_ratio"] is None and row["rate_met"] is None for row in rows)
    assert sum(row["light_p99_met"] for row in goals) == 0


def test_only_pairs_of_two_models_are_looked_at() -> None:
    assert is_light_cell(CLOSED)
    assert is_light_cell(ARRIVING)
    assert not is_light_cell(Cell.of([LIGHT, LIGHT], [], "closed"))
    assert not is_light_cell(Cell.of([LIGHT, HEAVY], [], "dense"))
    assert not is_light_cell(Cell.of([LIGHT, HEAVY, HEAVY], [], "closed"))
    assert goals_met([]) == []


def test_alone_is_under_mps_and_valid() -> None:
    cell = Cell.of([LIGHT], [], "closed")
    assert alone_by_model([run(cell, "fico", [loop(500.0)])]) == {}
    assert alone_by_model([run(cell, "mps", [loop(500.0, 5)])]) == {}
    (found,) = alone_by_model([run(cell, "mps", [loop(500.0)])]).values()
    assert found.mean_us == pytest.approx(500)
    assert found.p99_us == pytest.approx(500)


def test_requests_wait_for_those_before_them() -> None:
    arrivals = np.array([0.0, 1.0, 2.0, 20.0, 100.0, 101.0])
    # The first of the second round begins at once, though the last of the first is under way.
    latencies = latencies_us(arrivals, np.array([10.0, 4.0]), 101.0)
    assert latencies.tolist() == [10, 13, 22, 8, 10, 4]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=50).map(sorted),
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=20),
)
def test_one_after_another_is_first_come_first_served(
    arrivals: list[float], service: list[float]
) -> None:
    found = latencies_us(np.array(arrivals), np.array(service), 2e6)
    free = 0.0
    for number, (arrival, latency) in enumerate(zip(arrivals, found, strict=True)):
        free = max(free, arrival) + service[number % len(service)]
        assert arrival + latency == pytest.approx(free)
    assert Alone(np.array(service)).p99_us <= max(service) * (1 + 1e-12)


def test_the_promise_is_told_by_the_tenant_that_is_worst_off() -> None:
    runs = [
        run(CLOSED, "static", [loop(1000.0), loop(10e3)]),
        run(CLOSED, "fico", [loop(900.0), loop(13e3)]),
        arriving("static", 1000.0, 10e3),
        arriving("fico", 1010.0, 10e3),
        run(CLOSED, "mps", [loop(1000.0), loop(10e3, 3)]),
        *ALONE,
    ]
    (row,) = promise_rows(runs)
    assert (row["policy"], row["cells"], row["kept"]) == ("fico", 2, 1)
    assert row["worst_mean_ratio"] == pytest.approx(1.3)
    assert row["worst_mean_in"].endswith("60+40_closed: vgg16-bs32-graph")
    assert row["worst_p99_ratio"] == pytest.approx(1.3)
    assert promise_rows(runs[1:2]) == []


def test_the_script_reads_a_folder_of_results(tmp_path: Path) -> None:
    folder = tmp_path / "light"
    (folder / "runs").mkdir(parents=True)
    write_json(folder / "run.json", asdict(Header("cuda", "a GPU", "light", 1, 80, 1)))
    runs = [arriving("fico", 600.0, 9e3), arriving("static", 1000.0, 15e3), *ALONE]
    for number, one in enumerate(runs):
        save_run(folder / "runs" / f"{number}.parquet", one)
    output = tmp_path / "light.json"
    script = [sys.executable, str(ROOT / "benchmarks" / "light.py")]
    done = subprocess.run(
        [*script, str(folder), "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2-bs1 vgg16-bs32" in done.stdout
    result = json.loads(output.read_text())
    assert (result["gpu"], len(result["rows"]), len(result["met"])) == ("a GPU", 2, 2)
    assert only(result["promise"], policy="fico")["kept"] == 1
    nothing = subprocess.run([*script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert nothing.returncode == 2
    assert "holds no results of 'fico bench run'" in nothing.stderr
