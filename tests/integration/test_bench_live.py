"""`fico bench run --device emulated`: suites on real processes, which leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fico import _native
from fico.bench.emulated_program import curve_us
from fico.bench.marks import read_marks
from fico.runtime import profile_file
from helpers.cli import Cli, new_cli, runs, until
from helpers.patience import PATIENCE_S
from helpers.profiles import synthetic_profile

NAMES = ("mobilenet_v2-bs8-graph", "mobilenet_v2-bs1-graph", "vgg16-bs8-graph")
LIVE = ("--device", "emulated", "--profiles", "profiles")
DILATION = {"FICO_EMULATED_DILATION": "4"}
SUITE = """
[[cell]]
models = ["mobilenet_v2-bs8", "mobilenet_v2-bs8"]
workloads = ["closed"]
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "profiles").mkdir()
    for name in NAMES:
        profile_file.save(synthetic_profile(name), tmp_path / "profiles" / f"{name}.fico")
    (tmp_path / "suite.toml").write_text(SUITE)
    yield from new_cli(tmp_path)


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    cells = json.loads((folder / "summary.json").read_text())["cells"]
    return {(row["cell"], row["policy"]): row for row in cells}


def shortest_us(model: str, units: int) -> float:
    return sum(curve_us(launch)[units - 1] for launch in synthetic_profile(model).launches)


def test_the_smoke_suite_in_open_and_closed_loop(cli: Cli, tmp_path: Path) -> None:
    options = ("--requests", "45", "--policies", "mps,static", *LIVE)
    done = cli("bench", "run", "smoke", "--out", "a", *options, **DILATION)
    assert (done.code, done.err) == (0, "")
    assert "smoke on emulated (Fico emulated H200), seed 1, 3 cells" in done.out
    assert cli.leftovers() == []
    rows = rows_of(tmp_path / "a")
    assert len(rows) == 6
    for path in (tmp_path / "a" / "runs").glob("*.parquet"):
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[b"fico"])
        assert facts["problems"] == []
        quotas = [(round(tenant["quota_pct"] * 10_000), 0) for tenant in facts["cell"]]
        units = _native.share_units(quotas, 16) if facts["policy"] == "static" else [16, 16]
        for number, tenant in enumerate(facts["cell"]):
            mine = table.to_pandas().query(f"tenant == {number}")
            assert len(mine) > 5
            # Nothing is faster than its kernels on the SMs that it may use; one unit has more of
            # them than the others. However slow this machine is, that holds on average.
            least_us = shortest_us(tenant["model"], min(16, units[number] + 1))
            assert (mine.end_us - mine.arrival_us).mean() > least_us
    # What is there is not run again.
    assert cli("bench", "run", "smoke", "--out", "a", *options, **DILATION).out == done.out

    # The simulator sees the same arrivals.
    same = ("--requests", "45", "--rounds", "3", "--policies", "mps", "--capacity-of", "a")
    done = cli("bench", "run", "smoke", "--out", "s", "--profiles", "profiles", *same)
    assert (done.code, done.err) == (0, "")
    (name,) = (path.name for path in (tmp_path / "s" / "runs").glob("*medium*"))
    ours, theirs = (pq.read_table(tmp_path / f / "runs" / name).to_pandas() for f in ("a", "s"))
    assert ours.tenant.tolist() == theirs.tenant.tolist()
    assert ours.arrival_us.tolist() == pytest.approx(theirs.arrival_us.tolist(), abs=0.01)


def test_no_cell_begins_that_does_not_fit(cli: Cli, tmp_path: Path) -> None:
    done = cli("bench", "run", "smoke", "--out", "a", "--budget-s", "0.01", *LIVE, **DILATION)
    assert (done.code, done.err) == (0, "")
    assert "the time is up: 3 of 3 cells are left for the same command" in done.out
    assert rows_of(tmp_path / "a") == {}
    assert cli.leftovers() == []


def measuring(
    cli: Cli, tmp_path: Path, policies: str = "mps,static"
) -> tuple[subprocess.Popen[str], list[int]]:
    """A suite that is under way, and the processes of its two servers."""
    options = ("--requests", "800", "--policies", policies, *LIVE)
    process = cli.start("bench", "run", "suite.toml", "--out", "a", *options, **DILATION)
    until((tmp_path / "a" / "capacity.json").exists, "the capacity is known")
    pids = [row["pid"] for row in cli.tenants().values()]
    assert len(pids) == 2
    return process, pids


def test_policies_that_schedule_kernels(cli: Cli, tmp_path: Path) -> None:
    policies = ["fico", "reef", "krisp", "orion", "lithos"]
    # Long enough for both tenants to get their turn on a busy machine.
    options = ("--requests", "160", "--rounds", "1", "--policies", ",".join(policies), *LIVE)
    done = cli("bench", "run", "suite.toml", "--out", "a", *options, **DILATION)
    assert (done.code, done.err) == (0, "")
    rows = rows_of(tmp_path / "a")
    assert [policy for _, policy in rows] == policies
    least_us = shortest_us(NAMES[0], 16)
    for row in rows.values():
        assert row["requests"] > 5, row
        assert row["mean_ms"] * 1e3 > least_us, row
        assert row["counters"]["requests"] >= row["requests"], row
        assert row["counters"]["pieces"] > 0, row


def test_what_was_decided_in_a_run_can_be_chosen(cli: Cli, tmp_path: Path) -> None:
    """GIVEN a suite under two policies, in rounds, with a timeline of its servers
    THEN the requests of one policy, or of a round of it, are found by its name."""
    options = ("--requests", "60", "--rounds", "2", "--policies", "mps,fico,krisp", *LIVE)
    command = ("bench", "run", "suite.toml", "--out", "a", "--timeline", "tl", *options)
    done = cli(*command, FICO_TIMELINE_RECORDS="100000", **DILATION)
    assert (done.code, done.err) == (0, "")
    (name,) = {cell for cell, _ in rows_of(tmp_path / "a")}
    marks = read_marks(tmp_path / "tl")
    policies = ["mps", "fico", "krisp"]
    assert [(mark.policy, mark.round) for mark in marks] == [
        (policy, number) for number in (1, 2) for policy in policies
    ]
    assert {mark.cell for mark in marks} == {name}
    assert all(one.end_ns <= two.begin_ns for one, two in pairwise(marks))

    def rows(*more: str) -> list[dict[str, Any]]:
        shown = cli("timeline", "tl", "--json", *more)
        assert (shown.code, shown.err) == (0, "")
        found: list[dict[str, Any]] = json.loads(shown.out)["rows"]
        return [row for row in found if row["which"] == "all"]

    def requests(*more: str) -> int:
        return sum(row["requests"] for row in rows(*more))

    assert {(row["tenant"], *row["models"]) for row in rows()} == {
        ("bench-1", NAMES[0]),
        ("bench-2", NAMES[0]),
    }
    for row in rows("--policy", "fico"):
        assert min(row["queued_us"], row["before_us"], row["answer_us"]) >= 0
        assert (row["cell"], row["policy"]) == (name, "fico")
    # Under mps nothing is decided.
    assert rows("--policy", "mps") == []
    of_fico = requests("--policy", "fico", "--cell", "mobilenet_v2")
    assert of_fico == requests("--policy", "fico")
    assert of_fico == sum(requests("--policy", "fico", "--round", n) for n in ("1", "2")) > 0
    assert of_fico + requests("--policy", "krisp") == requests()
    missing = cli("timeline", "tl", "--policy", "fico", "--cell", "vgg16")
    assert missing.code == 2
    assert missing.line.startswith(f"fico: tl has no such run; choose from {name} under fico, ")


def test_a_policy_has_its_settings(cli: Cli, tmp_path: Path) -> None:
    measuring(cli, tmp_path, "fico[order=0,span_us=100]")

    def has_them() -> bool:
        (session,) = cli.status()
        settings = {"order": 0, "span_us": 100}
        return bool(session["policy"] == "fico" and session["policy_settings"] == settings)

    until(has_them, "the session has the policy with its settings")


def test_servers_have_the_profiles_of_their_models(cli: Cli, tmp_path: Path) -> None:
    measuring(cli, tmp_path)
    for tenant in cli.tenants().values():
        counters = tenant["counters"]
        assert counters["requests"] > 0
        assert counters["unprofiled_launches"] == counters["resyncs"] == 0
        assert tenant["request"][2] == len(synthetic_profile(NAMES[0]).launches)


def test_ctrl_c_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    process, pids = measuring(cli, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, "")
    assert "stopped: what was done is in a, and the same command goes on" in out
    assert not any(map(runs, pids))
    assert cli.leftovers() == []


def test_a_server_that_dies_is_named(cli: Cli, tmp_path: Path) -> None:
    process, pids = measuring(cli, tmp_path)
    os.kill(pids[0], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    # Its place in the session is that of whichever server started first.
    killed = r"fico: server bench-[12] has ended: killed by SIGKILL; what was done is kept\n"
    assert re.fullmatch(killed, err)
    assert not any(map(runs, pids))
    assert cli.leftovers() == []


def test_a_session_of_others_is_left_alone(cli: Cli) -> None:
    tenant = cli.tenant("--name", "other")
    done = cli("bench", "run", "suite.toml", "--out", "a", *LIVE)
    assert done.code == 1
    assert done.line.startswith("fico: the session on Fico emulated H200 has tenants: other; end")
    assert tenant.poll() is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--policies", "timeslice", *LIVE), "policy timeslice does not run on --device emulated"),
        (("--policies", "mps-quota", *LIVE), "policy mps-quota does not run on --device emulated"),
        (("--policies", "static[x=1]", *LIVE), "policy static has no setting 'x'; it has"),
        (("--device", "cuda"), "FICO_GPU says emulated; use --device emulated"),
        (("--budget-s", "9", "--profiles", "profiles"), "the simulator has no --budget-s; stop"),
        (("--rounds", "0", *LIVE), "--rounds 0 is out of range"),
    ],
)
def test_what_there_is_not_is_said_in_a_line(cli: Cli, options: tuple[str, ...], line: str) -> None:
    done = cli("bench", "run", "suite.toml", "--out", "a", *options)
    assert done.code == 2
    assert done.line.startswith(f"fico: {line}")
    assert cli.leftovers() == []
