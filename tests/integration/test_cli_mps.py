"""Sessions with MPS. There is none without a GPU: NVIDIA's control program has a stand-in, and the
driver of GPU 0 is the emulated one; everything else is as it is on a real GPU.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fico.runtime import mps
from fico.runtime.errors import FicoError
from fico.runtime.processes import look_up
from helpers import built
from helpers.cli import Cli, new_cli, runs, until
from helpers.patience import PATIENCE_S


@pytest.fixture
def others() -> Iterator[int]:
    """A lock between tests that run at once: who shows MPS of another user shows it to all."""
    path = Path(tempfile.gettempdir()) / f"fico-test-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def fico(tmp_path: Path, others: int) -> Iterator[Cli]:
    assert others
    # The sockets of MPS need a short path.
    short = Path(tempfile.mkdtemp(prefix="fico-test-"))
    programs = tmp_path / "bin"
    programs.mkdir()
    install_control(programs)
    for cli in new_cli(tmp_path):
        cli.run_dir = short / "run"
        cli.env |= {
            "FICO_RUNTIME_DIR": str(cli.run_dir),
            "FICO_GPU": "0",
            "LD_LIBRARY_PATH": str(built.driver_dir()),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        yield cli
    shutil.rmtree(short)


def install_control(folder: Path) -> None:
    text = Path(built.__file__).with_name("fake_mps_control.py").read_text()
    (folder / mps.CONTROL).write_text(f"#!{sys.executable}\n{text}")
    (folder / mps.CONTROL).chmod(0o755)


def session_of(fico: Cli) -> dict[str, Any]:
    (session,) = fico.status()
    return session


def folder_of(fico: Cli) -> Path:
    uuid: str = session_of(fico)["gpu_uuid"]
    return fico.run_dir / uuid


def files(fico: Cli) -> list[Path]:
    """What a session has left behind."""
    return [
        path for path in (*fico.shm_dir.iterdir(), *fico.run_dir.iterdir()) if path.name != "lock"
    ]


def test_a_session_has_mps_from_its_start_to_its_end(fico: Cli) -> None:
    tenant = fico.tenant("--name", "a", "--memory", "2GiB")
    session = session_of(fico)
    assert not session["emulated"]
    daemon = session["mps_pid"]
    assert runs(daemon)
    environment = Path(f"/proc/{tenant.pid}/environ").read_text().split("\0")
    assert f"CUDA_MPS_PIPE_DIRECTORY={folder_of(fico)}/mps" in environment
    assert f"CUDA_VISIBLE_DEVICES={session['gpu_uuid']}" in environment
    assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=2048M" in environment
    environment = Path(f"/proc/{daemon}/environ").read_text().split("\0")
    assert f"CUDA_VISIBLE_DEVICES={session['gpu_uuid']}" in environment
    tenant.communicate("")
    assert fico("down").code == 0
    assert not runs(daemon)
    assert files(fico) == []


def test_the_second_tenant_finds_the_session_by_index_and_uuid(fico: Cli) -> None:
    fico.tenant("--name", "a")
    session = session_of(fico)
    fico.tenant("--name", "b", "--gpu", session["gpu_uuid"])
    assert session_of(fico)["mps_pid"] == session["mps_pid"]
    assert sorted(fico.tenants()) == ["a", "b"]


def test_an_unknown_gpu_is_refused_with_those_there_are(fico: Cli) -> None:
    done = fico("run", "--gpu", "7", "--", "true")
    assert done.code == 1
    assert "there is no GPU 7; there are: 0: " in done.line
    assert files(fico) == []


def test_no_mps_on_the_machine(fico: Cli) -> None:
    done = fico("run", "--", "true", PATH=os.environ["PATH"])
    assert done.code == 1
    assert "MPS is not installed" in done.line
    assert files(fico) == []


def test_mps_that_refuses_to_start(fico: Cli) -> None:
    done = fico("run", "--", "true", FAKE_MPS="refuse")
    assert done.code == 1
    assert "MPS did not start: exit code 1 (Failed to start: the GPU is busy)" in done.line
    assert files(fico) == []


def test_mps_that_does_not_answer(fico: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**fico.env, "FAKE_MPS": "mute"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mps, "_READY_WITHIN_S", 0.5)
    fico.run_dir.mkdir()
    with pytest.raises(FicoError, match="MPS did not start"):
        mps.Mps(fico.run_dir).start("GPU-x")


def test_mps_that_does_not_quit_is_ended(fico: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**fico.env, "FAKE_MPS": "stubborn"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mps, "_STOP_WITHIN_S", 0.2)
    fico.run_dir.mkdir()
    daemon = mps.Mps(fico.run_dir)
    daemon.start("GPU-x")
    pid = daemon.pid()
    assert pid is not None
    daemon.stop()
    assert not runs(pid)


def test_a_path_that_is_too_long_for_sockets(fico: Cli) -> None:
    done = fico("run", "--", "true", FICO_RUNTIME_DIR=str(fico.folder / ("x" * 60)))
    assert done.code == 1
    assert "bytes too long for the sockets of MPS" in done.line


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to run a process as another user")
def test_mps_of_another_user_is_named(fico: Cli, others: int) -> None:
    fcntl.flock(others, fcntl.LOCK_EX)
    server = fico.folder / mps.SERVER
    shutil.copy("/bin/sleep", server)
    for folder in (server, *server.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    other = subprocess.Popen([server, "1000"], user=65534, group=65534, cwd="/")
    try:
        done = fico("run", "--", "true")
        assert done.code == 1
        assert f"MPS of user 65534 is running (process {other.pid})" in done.line
        assert files(fico) == []
        assert (
            f"fail  MPS: MPS of user 65534 is running (process {other.pid})" in fico("doctor").out
        )
    finally:
        other.kill()
        other.wait()


def test_an_idle_session_whose_mps_died_starts_anew(fico: Cli) -> None:
    assert fico("run", "--", "true").code == 0
    daemon = session_of(fico)["mps_pid"]
    os.kill(daemon, signal.SIGKILL)
    until(lambda: look_up(daemon) is None, "the daemon is gone")
    fico.tenant("--name", "a")
    session = session_of(fico)
    assert session["problem"] is None
    assert session["mps_pid"] not in (None, daemon)


def test_tenants_whose_mps_died_are_not_joined(fico: Cli) -> None:
    tenant = fico.tenant("--name", "a")
    daemon = session_of(fico)["mps_pid"]
    os.kill(daemon, signal.SIGKILL)
    until(lambda: look_up(daemon) is None, "the daemon is gone")
    done = fico("run", "--", "true")
    assert done.code == 1
    assert "MPS of the session on" in done.line
    assert "fico down --force" in done.line
    assert "fico down --force" in session_of(fico)["problem"]
    assert fico("down", "--force").code == 0
    assert tenant.wait(PATIENCE_S) == -signal.SIGTERM
    assert files(fico) == []


def test_a_start_that_was_cut_short_is_taken_over(fico: Cli) -> None:
    """GIVEN a `fico` killed between MPS and arena WHEN the next one runs THEN one MPS is left."""
    assert fico("run", "--", "true").code == 0
    daemon = session_of(fico)["mps_pid"]
    (arena,) = fico.shm_dir.iterdir()
    arena.unlink()
    assert fico.status() == []
    assert fico("run", "--", "true").code == 0
    assert not runs(daemon)
    assert runs(session_of(fico)["mps_pid"])


def test_down_mends_a_start_that_was_cut_short(fico: Cli) -> None:
    assert fico("run", "--", "true").code == 0
    daemon = session_of(fico)["mps_pid"]
    (arena,) = fico.shm_dir.iterdir()
    arena.unlink()
    assert fico("down").code == 0
    assert not runs(daemon)
    assert files(fico) == []


def test_a_session_survives_the_loss_of_its_record(fico: Cli) -> None:
    """What cleans up /tmp may take files, never the arena: the session is still the GPU's."""
    fico.tenant("--name", "a")
    record = folder_of(fico) / "session.json"
    record.unlink()
    (folder_of(fico) / "mps" / f"{mps.CONTROL}.pid").unlink()
    assert fico("set", "a", "--quota", "50%", "--gpu", "0").code == 0
    session = session_of(fico)
    assert session["problem"] is None
    fico.tenant("--name", "b")
    assert sorted(fico.tenants()) == ["a", "b"]
    assert session_of(fico) | {"tenants": []} == session | {"gpu_index": 0, "tenants": []}
    assert record.exists()


def test_clients_are_taken_from_mps_before_they_are_killed(fico: Cli) -> None:
    tenant = fico.tenant("--name", "a")
    log = folder_of(fico) / "log"
    kept = fico.folder / "kept"
    (log / "clients").write_text(str(tenant.pid))
    os.link(log / "control.asked", kept)
    daemon = session_of(fico)["mps_pid"]
    assert fico("down", "--force").code == 0
    asked = kept.read_text().splitlines()
    assert asked.index(f"terminate_client {daemon} {tenant.pid}") < asked.index("quit")


def test_the_doctor_is_content(fico: Cli) -> None:
    server = fico.folder / "bin" / mps.SERVER
    shutil.copy("/bin/true", server)
    fico.tenant("--name", "a")
    done = fico("doctor")
    assert [line for line in done.out.splitlines() if line.startswith("fail")] == []
    assert done.code == 0
    assert "16 units: 15 of 8 SMs and 1 of 12 SMs" in done.out
    assert "a green context on one unit was made" in done.out
    assert "policy static, tenants: a" in done.out


def test_the_doctor_says_what_is_missing(fico: Cli) -> None:
    done = fico("doctor", LD_LIBRARY_PATH="", PATH=os.environ["PATH"])
    assert done.code == 1
    assert "fail  MPS: there is no nvidia-cuda-mps-control in PATH; install" in done.out
    if not Path("/dev/nvidiactl").exists():
        assert "fail  driver: no driver: libcuda.so.1" in done.out
