"""Where the test programs, the preloaded library and the emulated driver are.

FICO_TEST_BUILD names a CMake build folder of this repository with FICO_TEST_PROGRAMS=ON; then
everything comes from there, as in the runs under the sanitizers. Without it the programs are built
in build/tests and the libraries are those of the installed package.
"""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def build_dir() -> Path:
    """The build folder; it is brought up to date first, unless FICO_TEST_BUILD names it."""
    named = os.environ.get("FICO_TEST_BUILD")
    if named:
        return Path(named)
    build = ROOT / "build" / "tests"
    build.mkdir(parents=True, exist_ok=True)
    with open(build / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
        configure += ["-DFICO_TEST_PROGRAMS=ON", "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-DPython_EXECUTABLE={sys.executable}"]
        compile_all = ["cmake", "--build", str(build), "--target", "test_programs"]
        for command in (configure, compile_all):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"the test programs do not build:\n{done.stdout}{done.stderr}")
    return build


def program(name: str) -> Path:
    """A program of tests/native."""
    return build_dir() / "tests" / "native" / name


def library() -> Path:
    """libfico.so."""
    if "FICO_TEST_BUILD" in os.environ:
        return build_dir() / "lib" / "libfico.so"
    from fico import _native

    return Path(_native.library_path())


def driver_dir() -> Path:
    """The folder of the emulated libcuda.so.1."""
    if "FICO_TEST_BUILD" in os.environ:
        return build_dir() / "emulated"
    from fico import _native

    return Path(_native.emulated_driver_dir())
