"""Sessions on a real GPU, with the real MPS. Run with: pytest -m gpu tests/gpu/test_session.py"""

import signal
import sys
from pathlib import Path

import pytest

from helpers.cli import Cli, read_line, runs

pytestmark = pytest.mark.gpu

# Allocates the memory that it is told to, in MiB, says what came of it, and waits.
ALLOCATING = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer = ctypes.c_void_p(), ctypes.c_void_p()
codes = [cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)]
codes += [cuda.cuCtxSetCurrent(context)]
for size_mib in map(int, sys.argv[1:]):
    size = ctypes.c_size_t(size_mib << 20)
    codes += [cuda.cuMemAlloc_v2(ctypes.byref(pointer), size)]
    if codes[-1] == 0:
        cuda.cuMemFree_v2(pointer)
print(*codes, flush=True)
sys.stdin.read()
"""
OUT_OF_MEMORY = 2


def left(fico: Cli) -> list[Path]:
    return [
        path for path in (*fico.shm_dir.iterdir(), *fico.run_dir.iterdir()) if path.name != "lock"
    ]


def test_the_doctor_is_content(fico: Cli) -> None:
    done = fico("doctor")
    assert done.code == 0, done.out


def test_a_session_has_mps_from_its_start_to_its_end(fico: Cli) -> None:
    tenant = fico.start("run", "--name", "a", "--", sys.executable, "-c", ALLOCATING, "64")
    assert read_line(tenant) == "0 0 0 0\n"
    (session,) = fico.status()
    assert not session["emulated"]
    assert sum(session["sms_per_unit"]) > 0
    assert runs(session["mps_pid"])
    (row,) = session["tenants"]
    assert row["processes"] == [tenant.pid]
    assert row["fall_backs"] == []
    assert fico("doctor").code == 0
    tenant.communicate("")
    assert fico("down").code == 0
    assert not runs(session["mps_pid"])
    assert left(fico) == []


def test_memory_limits_are_those_of_each_tenant(fico: Cli) -> None:
    for name, limit, last in (("small", "2GiB", OUT_OF_MEMORY), ("large", "8GiB", 0)):
        command = [sys.executable, "-c", ALLOCATING, "512", "4096"]
        tenant = fico.start("run", "--name", name, "--memory", limit, "--", *command)
        assert read_line(tenant) == f"0 0 0 0 {last}\n"


def test_a_killed_tenant_leaves_the_others_and_the_session(fico: Cli) -> None:
    tenants = {
        name: fico.start("run", "--name", name, "--", sys.executable, "-c", ALLOCATING, "64")
        for name in ("a", "b")
    }
    for tenant in tenants.values():
        assert read_line(tenant) == "0 0 0 0\n"
    tenants["a"].kill()
    tenants["a"].wait()
    assert list(fico.tenants()) == ["b"]
    again = fico.start("run", "--name", "c", "--", sys.executable, "-c", ALLOCATING, "64")
    assert read_line(again) == "0 0 0 0\n"
    assert tenants["b"].poll() is None


def test_down_ends_tenants_that_use_the_gpu(fico: Cli) -> None:
    tenant = fico.start("run", "--name", "a", "--", sys.executable, "-c", ALLOCATING, "64")
    assert read_line(tenant) == "0 0 0 0\n"
    (session,) = fico.status()
    assert fico("down", "--force").code == 0
    assert tenant.wait(30) == -signal.SIGTERM
    assert not runs(session["mps_pid"])
    assert left(fico) == []


def test_an_unknown_gpu(fico: Cli) -> None:
    done = fico("run", "--gpu", "99", "--", "true")
    assert done.code == 1
    assert "there is no GPU 99; there are: 0: " in done.line
    assert left(fico) == []
