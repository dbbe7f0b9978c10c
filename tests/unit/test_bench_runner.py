"""Suites that are stopped, killed and gone on with; results that are the same, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fico.bench.cell import Cell
from fico.bench.device import Job, Outcome
from fico.bench.jobs import measuring_job
from fico.bench.policy import Policy, parse_policies, parse_policy
from fico.bench.runner import Step, run_suite
from fico.bench.store import Header, Store, load_run, read_header, read_summary
from fico.bench.suites import Suite, suites
from fico.bench.summary import write_summary
from fico.bench.sweep import combinations
from fico.runtime.errors import FicoError, UsageError
from helpers.patience import PATIENCE_S
from helpers.sharing_device import SharingDevice

TESTS = Path(__file__).parents[1]
SUITE = Suite(
    "small",
    "",
    40,
    (
        Cell.of(["mobilenet_v2-bs8"] * 2, [], "closed"),
        Cell.of(["mobilenet_v2-bs8"] * 2, [], "bursty"),
        Cell.of(["mobilenet_v2-bs1", "vgg16-bs8"], [75, 25], "medium+closed"),
    ),
)
POLICIES = parse_policies("fico,mps,static")
RUNS = len(SUITE.cells) * len(POLICIES)
HEADER = Header("sharing", "a fluid", "small", 1, 40)


@dataclass(frozen=True)
class CountingDevice(SharingDevice):
    """Leaves a file for every job that it ran."""

    folder: str = ""

    def run(self, job: Job) -> Outcome:
        name = f"{len(os.listdir(self.folder))}-{os.getpid()}"
        (Path(self.folder) / name).touch()
        return super().run(job)


@dataclass(frozen=True)
class DeadlyDevice(SharingDevice):
    """Kills the process that it runs in."""

    def run(self, job: Job) -> Outcome:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().run(job)


def measure(
    folder: Path,
    device: SharingDevice | None = None,
    workers: int = 1,
    stop_at: int = 0,
    policies: Sequence[Policy] = POLICIES,
) -> Path:
    def report(step: Step) -> None:
        if stop_at and step.done == stop_at:
            raise KeyboardInterrupt

    store = Store(folder, HEADER)
    try:
        run_suite(SUITE, policies, device or SharingDevice(), store, workers, report)
    finally:
        write_summary(store, SUITE)
        store.close()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = contents(measure(tmp_path / "a"))
    assert first == contents(measure(tmp_path / "b", workers=2))
    assert len([name for name in first if name.startswith("runs/")]) == RUNS
    summary = read_summary(tmp_path / "a")
    assert [row["policy"] for row in summary["cells"]] == ["fico", "mps", "static"] * 3
    assert all(row["valid"] for row in summary["cells"])
    assert summary["headline"]["policies"]["static"]["promise_kept_pct"] == 100
    tenants = pq.read_table(tmp_path / "a" / "tenants.parquet").to_pylist()
    assert len(tenants) == 2 * RUNS


def test_another_seed_gives_other_arrivals_and_all_policies_the_same() -> None:
    cell = SUITE.cells[1]
    jobs = [measuring_job(cell, policy, [100.0, 100.0], 40, 1) for policy in POLICIES]
    for job in jobs[1:]:
        assert job.window_us == jobs[0].window_us
        for one, other in zip(job.tenants, jobs[0].tenants, strict=True):
            assert one.arrivals_us is not None
            assert other.arrivals_us is not None
            assert (one.arrivals_us == other.arrivals_us).all()
    first, second = (load.arrivals_us for load in jobs[0].tenants)
    other_seed = measuring_job(cell, POLICIES[0], [100.0, 100.0], 40, 2).tenants[0].arrivals_us
    assert first is not None
    assert list(first) != list(second if second is not None else ())
    assert list(first) != list(other_seed if other_seed is not None else ())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop_at", [1, 3, 7])
def test_what_was_done_before_ctrl_c_is_kept(tmp_path: Path, workers: int, stop_at: int) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    device = CountingDevice(folder=str(jobs))
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "out", device, workers, stop_at)
    kept = len(list((tmp_path / "out" / "runs").iterdir()))
    assert kept >= max(0, stop_at - 2)  # two capacities come first
    assert len(read_summary(tmp_path / "out")["cells"]) == kept
    measure(tmp_path / "out", device, workers)
    # Nothing is run twice but what was under way.
    assert RUNS + 2 <= len(list(jobs.iterdir())) <= RUNS + 2 + workers
    assert contents(tmp_path / "out") == contents(measure(tmp_path / "whole"))


KILLED = """
import os, signal, sys
from pathlib import Path
from unit.test_bench_runner import HEADER, POLICIES, SUITE
from fico.bench.runner import run_suite
from fico.bench.store import Store
from helpers.sharing_device import SharingDevice

def report(step):
    if step.done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    store = Store(Path(sys.argv[1]), HEADER)
    run_suite(SUITE, POLICIES, SharingDevice(), store, int(sys.argv[3]), report)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_suite_goes_on_and_leaves_no_process(tmp_path: Path, workers: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(script), str(out), "5", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
    )
    # The end of its output comes when the last process that could write to it has gone.
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -9, output
    # Two capacities and three runs had been reported; other workers may have been ahead of that.
    kept = len(list((out / "runs").glob("*.parquet")))
    assert kept == 3 if workers == 1 else kept >= 3
    (out / "runs" / ".left-over.draft").write_text("half a fi")
    assert contents(measure(out)) == contents(measure(tmp_path / "whole"))


def test_a_worker_that_is_killed_is_named(tmp_path: Path) -> None:
    with pytest.raises(FicoError, match="a worker process was killed"):
        measure(tmp_path / "a", DeadlyDevice(), workers=2)


def test_policies_can_be_added_later(tmp_path: Path) -> None:
    measure(tmp_path / "a", policies=parse_policies("static"))
    measure(tmp_path / "a", policies=parse_policies("mps,fico"))
    assert contents(tmp_path / "a") == contents(measure(tmp_path / "b"))


def test_results_of_something_else_are_not_mixed(tmp_path: Path) -> None:
    measure(tmp_path / "a")
    with pytest.raises(UsageError, match="a holds results with seed 1, not 2; choose another"):
        Store(tmp_path / "a", Header("sharing", "a fluid", "small", 2, 40))
    store = Store(tmp_path / "a", HEADER)
    with pytest.raises(UsageError, match="another 'fico bench' writes to"):
        Store(tmp_path / "a", HEADER)
    store.close()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is not a folder"):
        Store(tmp_path / "file", HEADER)
    with pytest.raises(UsageError, match="empty holds no results of 'fico bench run'"):
        read_header(tmp_path / "empty")


def test_capacities_are_taken_from_other_results(tmp_path: Path) -> None:
    there = measure(tmp_path / "there")
    twice = {
        models: [2 * rate for rate in rates]
        for models, rates in json.loads((there / "capacity.json").read_text()).items()
    }
    (there / "capacity.json").write_text(json.dumps(twice))
    store = Store(tmp_path / "here", HEADER)
    store.take_capacities(there)
    store.close()
    windows = {}
    for out in (there, measure(tmp_path / "here")):
        run = load_run(next((out / "runs").glob("*bursty.mps.parquet")))
        windows[out.name] = run.window_us
    assert windows["here"] == pytest.approx(windows["there"] / 2)
    store = Store(measure(tmp_path / "other"), HEADER)
    with pytest.raises(UsageError, match=r"other has runs at other capacities than .*there"):
        store.take_capacities(there)
    with pytest.raises(UsageError, match="nowhere holds no results"):
        store.take_capacities(tmp_path / "nowhere")
    store.close()


def test_damaged_results_are_named(tmp_path: Path) -> None:
    out = measure(tmp_path / "a")
    path = next((out / "runs").iterdir())
    whole = path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(damaged)
        with pytest.raises(FicoError, match=r"\.parquet is damaged or not of this version"):
            load_run(path)
    (out / "summary.json").write_text("[]")
    with pytest.raises(UsageError, match=r"summary\.json is missing or damaged"):
        read_summary(out)
    (out / "run.json").write_text('{"version": 99}')
    with pytest.raises(UsageError, match="of another version"):
        read_header(out)


def test_a_missing_profile_is_found_before_anything_is_run(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    device = CountingDevice(folder=str(jobs), alone={"mobilenet_v2": 400.0})
    with pytest.raises(UsageError, match="there is no profile of vgg16-bs8-graph"):
        measure(tmp_path / "a", device)
    assert list(jobs.iterdir()) == []


def test_the_suites_are_what_they_say() -> None:
    poster, mixed, light, _ = suites()
    assert len(poster.cells) == 5 * 2 * 5
    assert {len(cell.tenants) for cell in poster.cells} == {2, 4}
    for suite in suites():
        shared = [cell for cell in suite.cells if len(cell.tenants) > 1]
        assert len({cell.name for cell in suite.cells}) == len(suite.cells)
        assert all(len(cell.tenants) * suite.requests >= 160 for cell in shared)
    quotas = {tuple(tenant.quota_pct for tenant in cell.tenants) for cell in mixed.cells}
    assert {(75, 25), (25, 75), (50, 30, 20)} <= quotas
    assert {cell.models for cell in light.cells} < {cell.models for cell in mixed.cells}
    pairs = [cell for cell in light.cells if len(cell.tenants) == 2]
    assert {str(cell.models[0]) for cell in pairs} == {"mobilenet_v2-bs1-graph"}
    for suite in (mixed, light):
        alone = {cell.models for cell in suite.cells if len(cell.tenants) == 1}
        assert alone == {(model,) for cell in suite.cells for model in cell.models}


@pytest.mark.parametrize("tenants", [1, 2])
def test_closed_loops_have_half_a_second_at_least(tenants: int) -> None:
    def window_us(workload: str, rate_rps: float) -> float:
        cell = Cell.of(["mobilenet_v2-bs1"] * tenants, [], workload)
        return measuring_job(cell, Policy("mps"), [rate_rps] * tenants, 80, 1).window_us

    assert window_us("closed", 2000.0) == 500e3
    assert window_us("closed", 20.0) == 4e6
    assert window_us("dense", 2000.0) == pytest.approx(50e3)


def test_a_sweep_tries_all_combinations_once() -> None:
    tried = combinations("orion", ["a=1,2", "b=0.5,3"])
    assert [str(policy) for policy in tried] == [
        "orion",
        "mps",
        "orion[a=1,b=0.5]",
        "orion[a=1,b=3]",
        "orion[a=2,b=0.5]",
        "orion[a=2,b=3]",
    ]
    for wrong in ("a", "a=", "a=x"):
        with pytest.raises(UsageError):
            combinations("orion", [wrong])
    with pytest.raises(UsageError, match="400 combinations are too many"):
        combinations(
            "orion", [f"a={','.join(map(str, range(20)))}", f"b={','.join(map(str, range(20)))}"]
        )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fifo", "there is no policy 'fifo'; choose from fico, mps"),
        ("fico,mps,fico", "policy fico is given twice"),
        ("fico,", "policy '' is not understood"),
        ("orion[a]", "setting 'a' of policy orion is not understood"),
        ("orion[a=1", "policy 'orion[a=1' is not understood"),
    ],
)
def test_wrong_policies_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_policies(text)
    assert str(refusal.value).startswith(complaint)


def test_policies_are_written_as_they_are_read() -> None:
    texts = ["fico", "orion[a=1,b=0.25]"]
    assert [str(policy) for policy in parse_policies(",".join(texts))] == texts
    assert parse_policy(" orion[b=0.25, a=1] ") == parse_policies(texts[1])[0]
    assert len(parse_policies("all")) == 9


MODELS = st.lists(
    st.sampled_from(["vgg16-bs8", "vgg16-bs8-eager", "vgg16", "resnet152-bs32"]),
    min_size=1,
    max_size=4,
)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    models = draw(MODELS)
    share = 100 / len(models)
    quotas = draw(
        st.one_of(
            st.just([]), st.lists(st.floats(1, share), min_size=len(models), max_size=len(models))
        )
    )
    words = draw(st.lists(st.sampled_from(["closed", "medium", "bursty"]), min_size=1, max_size=1))
    if draw(st.booleans()):
        words = draw(
            st.lists(
                st.sampled_from(["closed", "dense"]), min_size=len(models), max_size=len(models)
            )
        )
    return Cell.of(models, quotas, "+".join(words))


@given(cells(), cells())
def test_cells_survive_their_file_and_have_names_of_their_own(one: Cell, other: Cell) -> None:
    assert Cell.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert "/" not in one.name
    assert len(one.name) < 250
    if [(t.model, round(t.quota_pct, 3), t.workload) for t in one.tenants] != [
        (t.model, round(t.quota_pct, 3), t.workload) for t in other.tenants
    ]:
        assert one.name != other.name
