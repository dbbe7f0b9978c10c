"""`fico run --profile`: the library knows where the program is in its requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fico.records.gpu import Gpu
from fico.records.profile import Launch, Profile
from fico.runtime import profile_file
from fico.runtime.gpus import EMULATED, find_gpu
from helpers import built
from helpers.cli import Cli, Done, new_cli, read_line
from helpers.profiles import synthetic_profile

# Kernels of a request, with their grids, as request_loop launches them: blocks of 256 threads.
KERNELS = (("gemm", 64), ("norm", 8), ("gemm", 64), ("head", 4))
REQUEST = "token=" + ",".join(f"{name}*{blocks}" for name, blocks in KERNELS)


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def profile_of(gpu: Gpu) -> Profile:
    model = synthetic_profile("vgg16-bs8-graph")

    def launch(position: int, name: str, blocks: int) -> Launch:
        return replace(
            model.launches[position],
            position=position,
            name=name,
            mangled=name,
            grid=(blocks, 1, 1),
            block=(256, 1, 1),
            gap_us=1.0,
            duration_us=9.0,
            scaling_us=(9.0,) * len(gpu.sms_per_unit),
        )

    launches = tuple(launch(place, *kernel) for place, kernel in enumerate(KERNELS))
    traces = (replace(model.traces[0], launches=len(launches)),)
    return replace(model, gpu=gpu, launches=launches, traces=traces)


def loop(*options: str) -> list[str]:
    kernels = [f"{name} op=spin us_per_block=5" for name in dict(KERNELS)]
    words = [word for kernel in kernels for word in ("--kernel", kernel)]
    return [str(built.program("request_loop")), *words, "--request", REQUEST, *options]


@pytest.mark.parametrize("options", [[], ["--graph"]], ids=["eager", "graph"])
def test_requests_are_recognised(fico: Cli, options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "loop.fico"
    profile_file.save(profile_of(find_gpu(EMULATED)), path)
    program = fico.start(
        "run", "--name", "loop", "--quota", "8u", "--profile", str(path), "--", *loop(*options)
    )
    assert read_line(program) == "ready\n"
    first = fico.tenants()["loop"]
    while (row := fico.tenants()["loop"])["counters"]["requests"] < 50:
        assert program.poll() is None
    kind, launch, launches = row["request"]
    assert (kind, launches) == (1, len(KERNELS))
    assert row["remaining_us"] == pytest.approx(10 * (launches - launch + 1))
    counters = row["counters"]
    assert counters["resyncs"] == first["counters"]["resyncs"] == 0
    assert counters["unprofiled_launches"] == 0
    calls = counters["graph_launches"] if options else counters["launches"]
    per_request = 1 if options else len(KERNELS)
    # The counters are read one after the other, while the program goes on.
    assert counters["requests"] == pytest.approx(calls / per_request, abs=3)
    assert "requests of its profile; now launch" in fico("status").out


@pytest.mark.parametrize("options", [[], ["--graph"]], ids=["eager", "graph"])
def test_profiles_as_a_graph_and_one_by_one(fico: Cli, options: list[str], tmp_path: Path) -> None:
    """GIVEN both profiles of a program THEN it is known by the one of how it launches now."""
    graph = profile_of(find_gpu(EMULATED))
    eager = replace(graph, traces=(replace(graph.traces[0], from_graph=False),))
    words: list[str] = []
    for name, profile in (("graph", graph), ("eager", eager)):
        profile_file.save(profile, tmp_path / f"{name}.fico")
        words += ["--profile", str(tmp_path / f"{name}.fico")]
    program = fico.start("run", "--name", "loop", *words, "--", *loop(*options))
    assert read_line(program) == "ready\n"
    while (row := fico.tenants()["loop"])["counters"]["requests"] < 5:
        assert program.poll() is None
    kind, _, _ = row["request"]
    assert kind == (1 if options else 2)


def test_a_new_tenant_shows_nothing_of_the_last_one_in_its_place(fico: Cli, tmp_path: Path) -> None:
    path = tmp_path / "loop.fico"
    profile_file.save(profile_of(find_gpu(EMULATED)), path)
    fico.tenant("--name", "stays", "--quota", "4u")
    options = ("--name", "loop", "--quota", "8u", "--profile", str(path))
    program = fico.start("run", *options, "--", *loop())
    assert read_line(program) == "ready\n"
    while fico.tenants()["loop"]["request"] is None:
        assert program.poll() is None
    program.kill()
    program.wait()
    fico.tenant("--name", "next", "--quota", "8u")
    row = fico.tenants()["next"]
    assert (row["request"], row["remaining_us"]) == (None, None)


def test_a_profile_of_another_gpu_is_refused_unless_forced(fico: Cli, tmp_path: Path) -> None:
    path = tmp_path / "foreign.fico"
    profile_file.save(synthetic_profile("vgg16-bs8-graph"), path)
    done = fico("run", "--profile", str(path), "--", "true")
    assert done.code == 1
    assert "was measured on GPU NVIDIA H200 (synthetic), here it is" in done.line
    assert "--force-profile" in done.line
    assert fico.leftovers() == []
    assert fico("run", "--profile", str(path), "--force-profile", "--", "true").code == 0


def run_by_name(fico: Cli, *folders: Path) -> tuple[Done, list[str]]:
    """Run a program named `served`; gives the environment it has been given, too."""
    path = ":".join(map(str, folders))
    program = ("sh", "-c", "echo ${FICO_PROFILE_TABLE:-none}")
    done = fico("run", "--name", "served", "--", *program, FICO_PROFILE_PATH=path)
    return done, done.err.splitlines()


def test_a_profile_is_found_by_the_name(fico: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    done, lines = run_by_name(fico, first, second)
    assert (done.code, done.out, lines) == (0, "none\n", [])
    profile_file.save(profile_of(find_gpu(EMULATED)), second / "served.fico")
    done, lines = run_by_name(fico, first, second)
    assert done.code == 0
    assert "/profile-" in done.out
    assert lines == [f"fico: using the profile {second}/served.fico"]
    assert done.out != fico("run", "--", "sh", "-c", "echo ${FICO_PROFILE_TABLE:-none}").out
    profile_file.save(synthetic_profile("vgg16-bs8-graph"), first / "served.fico")
    done, lines = run_by_name(fico, first, second)
    assert (done.code, done.out) == (0, "none\n")
    (line,) = lines
    assert line.startswith(f"fico: profile {first}/served.fico is not used: ")
    assert "was measured on GPU NVIDIA H200 (synthetic), here it is" in line


def test_launched_programs_have_profiles_too(fico: Cli, tmp_path: Path) -> None:
    for name in ("given", "found"):
        profile_file.save(profile_of(find_gpu(EMULATED)), tmp_path / f"{name}.fico")
    command = ["sh", "-c", "echo ${FICO_PROFILE_TABLE:-none}"]
    names = {"own": 'profiles = ["given.fico", "found.fico"]', "found": "", "without": ""}
    tenants = [
        f"[[tenant]]\nname = {name!r}\ncommand = {command}\n{more}\n"
        for name, more in names.items()
    ]
    (tmp_path / "tenants.toml").write_text('gpu = "emulated"\n' + "\n".join(tenants))
    done = fico("launch", str(tmp_path / "tenants.toml"), FICO_PROFILE_PATH=str(tmp_path))
    assert done.code == 0, done.err
    said = dict(line.split("|") for line in done.out.splitlines())
    tables = {name.strip(): table.strip() for name, table in said.items()}
    assert tables["without"] == "none"
    assert "/profile-" in tables["own"]
    assert "/profile-" in tables["found"]
    assert done.err.splitlines() == [f"fico: using the profile {tmp_path}/found.fico"]


def test_a_damaged_profile_starts_nothing(fico: Cli, tmp_path: Path) -> None:
    path = tmp_path / "damaged.fico"
    path.write_bytes(b"no profile")
    done = fico("run", "--profile", str(path), "--", "true")
    assert done.code == 1
    assert "damaged.fico is damaged, or no profile" in done.line
    assert fico("run", "--profile", "/nowhere.fico", "--", "true").code == 2
    assert fico.leftovers() == []


def test_a_table_that_can_not_be_read_leaves_the_program_alone(fico: Cli) -> None:
    program = fico.start("run", "--", *loop(), FICO_PROFILE_TABLE="/nowhere")
    assert read_line(program) == "ready\n"
    (row,) = fico.tenants().values()
    assert row["request"] is None
    program.communicate("stop\n")
    assert program.returncode == 0
