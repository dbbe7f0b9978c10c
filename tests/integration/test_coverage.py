"""What reaches the driver past the preloaded library is counted and named, never silent."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fico import _native
from helpers import built
from helpers.patience import PATIENCE_S
from helpers.session import Session, emulated_env

# Uses the GPU, opens a library as it is told to, says how it reaches the driver, and waits.
PROGRAM = """
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, stream = ctypes.c_void_p(), ctypes.c_void_p()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
mode = os.RTLD_NOW | (os.RTLD_DEEPBIND if sys.argv[2] == "deep" else 0)
deep = ctypes.CDLL(sys.argv[1], mode=mode)
deep.find_launch.restype = ctypes.c_void_p
ours = ctypes.cast(cuda.cuLaunchKernel, ctypes.c_void_p).value
print("past" if deep.find_launch() != ours else "covered", flush=True)
sys.stdin.readline()
"""


def row(session: Session) -> _native.TenantRow:
    (only,) = session.arena.tenants()
    return only


def wait_for_scan(session: Session, counter: str) -> None:
    """The library looks through the loaded ones in a thread of its own."""
    until = time.monotonic() + PATIENCE_S
    while row(session)["counters"][counter] == 0 and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.skipif("FICO_TEST_SANITIZER" in os.environ, reason="it is bound past that too")
def test_a_deep_bound_library_is_named(tmp_path: Path) -> None:
    """GIVEN a library that is bound past the preload THEN `fico status` has its name."""
    library = built.program("libdeep_bound.so")
    with Session(tmp_path, "static") as session:
        tenant = session.start([sys.executable, "-c", PROGRAM, library, "deep"], env=emulated_env())
        assert tenant.stdout.readline() == "past\n", tenant.stderr()
        wait_for_scan(session, "uncovered_paths")
        assert row(session)["counters"]["uncovered_paths"] == 1
        (note,) = row(session)["notes"]
        assert "libdeep_bound.so" in note


def test_an_ordinary_library_is_covered(tmp_path: Path) -> None:
    """GIVEN the same library, opened as libraries are THEN it gets ours and nothing is counted."""
    library = built.program("libdeep_bound.so")
    with Session(tmp_path, "static") as session:
        tenant = session.start(
            [sys.executable, "-c", PROGRAM, library, "plain"], env=emulated_env()
        )
        assert tenant.stdout.readline() == "covered\n", tenant.stderr()
        tenant.stdin.write("end\n")
        tenant.stdin.flush()
        assert tenant.wait() == 0
        assert row(session)["notes"] == []
