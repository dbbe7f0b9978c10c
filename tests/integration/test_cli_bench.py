"""`fico bench` and `fico plan` as people run them, in the simulator on synthetic profiles."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fico.runtime import profile_file
from helpers.cli import Cli, new_cli, until
from helpers.patience import PATIENCE_S
from helpers.profiles import synthetic_profile

SMOKE = ("mobilenet_v2-bs8-graph", "mobilenet_v2-bs1-graph", "vgg16-bs8-graph")
SUITE = """
requests = 40

[[cell]]
models = ["mobilenet_v2-bs8", "vgg16-bs8"]
quotas = [25, 75]
workloads = ["closed", "trace:arrivals.csv@0.4"]
"""
TRACE = "TIMESTAMP,X\n" + "".join(f"2024-01-01 00:00:{s:02}.5,1\n" for s in (1, 2, 2, 3, 9, 20))
MODELS = """
[[model]]
profile = "vgg16-bs8-graph"
rate = 60
p99_ms = 30

[[model]]
profile = "mobilenet_v2-bs1-graph"
name = "light"
rate = 100
p99_ms = 10
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "profiles").mkdir()
    for name in SMOKE:
        profile_file.save(synthetic_profile(name), tmp_path / "profiles" / f"{name}.fico")
    (tmp_path / "arrivals.csv").write_text(TRACE)
    (tmp_path / "suite.toml").write_text(SUITE)
    (tmp_path / "models.toml").write_text(MODELS)
    yield from new_cli(tmp_path)


RUN = ("--profiles", "profiles", "--policies", "mps,static")


# Few requests: only what belongs together is looked at.
PARTS = (*RUN, "--requests", "40")


def test_parts_of_a_suite_are_put_together(cli: Cli, tmp_path: Path) -> None:
    cli("bench", "run", "smoke", "--out", "whole", *PARTS)
    first = cli("bench", "run", "smoke", "--cells", "2x*_closed,*medium", "--out", "a", *PARTS)
    second = cli("bench", "run", "smoke", "--cells", "*75+25*", "--out", "b", *PARTS)
    assert (first.code, second.code) == (0, 0)
    assert [len(list((tmp_path / name / "runs").iterdir())) for name in "ab"] == [4, 2]
    joined = cli("bench", "join", "smoke", "b", "a", "--out", "ab")
    assert (joined.code, joined.err) == (0, "")
    # A part may have left runs away once it has a summary.
    for run in (tmp_path / "a" / "runs").glob("*.mps.parquet"):
        run.unlink()
    assert cli("bench", "join", "smoke", "a", "b", "--out", "ba").code == 0
    assert len(list((tmp_path / "ba" / "runs").iterdir())) == 4
    for file in ("summary.json", "tenants.parquet"):
        whole = (tmp_path / "whole" / file).read_bytes()
        assert [(tmp_path / name / file).read_bytes() for name in ("ab", "ba")] == [whole, whole]


def test_parts_that_do_not_belong_together_are_refused(cli: Cli, tmp_path: Path) -> None:
    cli("bench", "run", "smoke", "--cells", "2x*", "--out", "a", *PARTS)
    cli("bench", "run", "smoke", "--cells", "*_closed", "--out", "b", *PARTS)
    cli("bench", "run", "smoke", "--seed", "2", "--cells", "*75+25*", "--out", "seed2", *PARTS)
    for words, complaint in (
        (("smoke", "a", "b", "--out", "ab"), "has cell 2xmobilenet_v2-bs8-graph_closed, which"),
        (("smoke", "a", "seed2", "--out", "as"), "seed2 holds results with seed 2, not 1"),
        (("poster", "a", "--out", "ap"), "a holds results of smoke, not of poster"),
        (("smoke", "a", "--out", "b"), "b is there already"),
        (("smoke", "nothing", "--out", "an"), "nothing holds no results"),
    ):
        refused = cli("bench", "join", *words)
        assert refused.code == 2
        assert complaint in refused.err
        assert refused.err.count("\n") == 1
    path = tmp_path / "a" / "summary.json"
    summary = json.loads(path.read_text())
    summary["cells"] = [row for row in summary["cells"] if row["workload"] != "medium"]
    path.write_text(json.dumps(summary))
    behind = cli("bench", "join", "smoke", "a", "--out", "aa")
    assert (behind.code, behind.err.count("\n")) == (2, 1)
    assert "lack 2xmobilenet_v2-bs8-graph_medium under mps, which was run" in behind.err
    none = cli("bench", "run", "smoke", "--cells", "resnet*", "--out", "c", *PARTS)
    assert (none.code, none.err.count("\n")) == (2, 1)
    assert "no cell of smoke is like 'resnet*'" in none.err


def test_smoke_runs_is_gone_on_with_and_is_the_same(cli: Cli, tmp_path: Path) -> None:
    first = cli("bench", "run", "smoke", "--out", "a", *RUN)
    assert (first.code, first.err) == (0, "")
    assert "smoke on sim (NVIDIA H200" in first.out
    summary = (tmp_path / "a" / "summary.json").read_bytes()
    assert cli("bench", "run", "smoke", "--out", "a", *RUN).out == first.out
    cli("bench", "run", "smoke", "--out", "b", "--workers", "1", *RUN)
    assert (tmp_path / "a" / "summary.json").read_bytes() == summary
    assert (tmp_path / "b" / "summary.json").read_bytes() == summary
    cells = json.loads(summary)["cells"]
    assert len(cells) == 6
    assert all(cell["valid"] and cell["requests"] > 120 for cell in cells), cells
    compared = cli("bench", "compare", "a", "b")
    assert compared.code == 0
    assert "all: median error 0.0%, largest 0.0%" in compared.out
    assert "in 3 of 3 cells" in compared.out


def test_a_suite_of_ones_own_with_a_trace(cli: Cli, tmp_path: Path) -> None:
    done = cli("bench", "run", "suite.toml", "--out", "a", "--seed", "7", *RUN)
    assert (done.code, done.err) == (0, "")
    cells = json.loads((tmp_path / "a" / "summary.json").read_text())["cells"]
    assert {cell["workload"] for cell in cells} == {"closed", "trace:arrivals.csv@0.4"}
    assert cells[0]["quotas"] == [25.0, 75.0]


def test_a_sweep_shows_the_best_first(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        *("bench", "sweep", "suite.toml", "mps-quota", "percent_of_quota=100,200"),
        *("--out", "a", "--profiles", "profiles"),
    )
    assert (done.code, done.err) == (0, "")
    rows = json.loads((tmp_path / "a" / "sweep.json").read_text())
    assert {row["policy"] for row in rows} == {
        "mps-quota",
        "mps-quota[percent_of_quota=100]",
        "mps-quota[percent_of_quota=200]",
    }
    gains = [row["mean_below_mps_pct"] for row in rows]
    assert gains == sorted(gains, reverse=True)
    by_name = {row["policy"]: row["mean_ms"] for row in rows}
    assert by_name["mps-quota"] == by_name["mps-quota[percent_of_quota=100]"]


def test_ctrl_c_keeps_what_was_done(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "absent.toml").write_text(SUITE.replace("vgg16", "vgg99"))
    process = cli.start("bench", "run", "absent.toml", "--out", "a", "--requests", "2000", *RUN)
    # Its profiles are not all there: it must not have begun.
    assert process.wait(timeout=PATIENCE_S) == 2
    suite = SUITE.replace("40", "3000").replace('"closed", ', '"closed", "dense", "medium", ')
    (tmp_path / "long.toml").write_text(suite)
    process = cli.start("bench", "run", "long.toml", "--out", "a", *RUN)
    runs = tmp_path / "a" / "runs"
    until(lambda: any(runs.glob("*.parquet")), "the first run")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped: what was done is in a, and the same command goes on" in out
    kept = json.loads((tmp_path / "a" / "summary.json").read_text())["cells"]
    assert 1 <= len(kept) < 8


def test_the_list_names_everything(cli: Cli) -> None:
    out = cli("bench", "list").out
    for name in ("poster", "mixed", "light", "smoke", "bursty", "trace:FILE", "lithos", "emulated"):
        assert name in out
    assert max(map(len, out.splitlines())) <= 100
    settings = cli("bench", "list", "--settings").out
    assert "mps: none\n" in settings
    assert "orion:\n  all_first=1 (0 to 1)\n" in settings


def test_a_plan(cli: Cli) -> None:
    done = cli("plan", "models.toml", "--profiles", "profiles")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("2 of 2 models fit on 1 GPU (NVIDIA H200")
    facts = json.loads(cli("plan", "models.toml", "--profiles", "profiles", "--json").out)
    (gpu,) = facts["gpus"]
    assert sum(model["quota_units"] for model in gpu) == 16
    assert facts["gpus_one_each"] == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "smoke"), "the following arguments are required: --out; see 'fico bench run --"),
        (("run", "smok", "--out", "a"), "there is no suite 'smok'; choose from poster, mixed,"),
        (("run", "no.toml", "--out", "a"), "no.toml cannot be read: No such file"),
        (("run", "smoke", "--out", "a", "--policies", "fifo"), "there is no policy 'fifo'; "),
        (
            ("run", "smoke", "--out", "a", "--policies", "mps[x=1]"),
            "policy mps has no setting 'x'; it has none",
        ),
        (
            ("run", "smoke", "--out", "a", "--policies", "mps-quota[percent_of_quota=-1]"),
            "setting percent_of_quota=-1 of policy mps-quota is out of range; give ",
        ),
        (("run", "smoke", "--out", "a", "--device", "tpu"), "there is no device 'tpu'; choose "),
        (("run", "smoke", "--out", "a", "--seed", "-1"), "--seed -1 is out of range"),
        (
            ("run", "smoke", "--out", "models.toml", "--policies", "mps"),
            "models.toml is not a folder",
        ),
        (("compare", "profiles"), "profiles holds no results of 'fico bench run'"),
        (("sweep", "smoke", "mps", "x", "--out", "a"), "setting 'x' is not understood; write"),
    ],
)
def test_wrong_use_is_refused_in_one_line(cli: Cli, arguments: tuple[str, ...], line: str) -> None:
    with_profiles = ("--profiles", "profiles") if arguments[0] != "compare" else ()
    done = cli("bench", *arguments, *with_profiles)
    assert done.code == 2
    assert done.line.startswith(f"fico: {line}")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("[25, 75]", "[50, 75]"), "suite.toml:6: quotas add up to 125% (50 + 75); make them"),
        (("[25, 75]", "[25]"), "suite.toml:6: 1 quotas for 2 models; give one"),
        (("[25, 75]", "[0, 75]"), "suite.toml:6: quota 0% is out of range"),
        (("vgg16-bs8", "vgg16-b8"), "suite.toml:5: model 'vgg16-b8' is not understood"),
        (("vgg16-bs8", "vgg99-bs8"), "there is no profile of vgg99-bs8-graph in profiles"),
        (('"closed"', '"often"'), "suite.toml:7: there is no workload 'often'"),
        (
            ('"closed"', '"closed+closed+closed"'),
            "suite.toml:7: workload 'closed+closed+closed' is",
        ),
        (("arrivals.csv", "none.csv"), "suite.toml:7: none.csv cannot be read: No such file"),
        (('"closed", ', '"closed", "closed", '), "suite.toml:4: cell "),
        (("quotas", "shares"), "suite.toml:6: cell 1: shares: is not known here, only models,"),
        (("requests = 40", "requests = 0"), "suite.toml:2: requests: Input should be greater"),
        (("models = [", "models = [["), "suite.toml is not TOML: "),
    ],
)
def test_a_wrong_suite_is_named_with_its_line(
    cli: Cli, tmp_path: Path, change: tuple[str, str], line: str
) -> None:
    assert change[0] in SUITE
    (tmp_path / "suite.toml").write_text(SUITE.replace(*change))
    done = cli("bench", "run", "suite.toml", "--out", "a", *RUN)
    assert done.code == 2
    assert done.line.startswith(f"fico: {line}")


def test_a_wrong_trace_is_named_with_its_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_text(TRACE + "soon,1\n")
    done = cli("bench", "run", "suite.toml", "--out", "a", *RUN)
    assert done.code == 2
    assert done.line.startswith("fico: suite.toml:7: arrivals.csv:8: timestamp 'soon' is not")


def test_a_damaged_profile_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "profiles" / f"{SMOKE[0]}.fico").write_bytes(b"nonsense")
    done = cli("bench", "run", "smoke", "--out", "a", *RUN)
    assert done.code != 0
    assert f"{SMOKE[0]}.fico" in done.line
