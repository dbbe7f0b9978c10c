"""The native unit tests: each program of tests/native whose name ends in _test."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from helpers import built

DECLARED = [
    name
    for file in sorted((Path(__file__).parents[1] / "native").glob("*.cmake"))
    for name in re.findall(r"add_executable\((\w+_test)\b", file.read_text())
]


@pytest.mark.parametrize("name", DECLARED)
def test_native(name: str) -> None:
    # Every test is a process; under TSan each would sleep for a second at its end.
    env = os.environ | {"TSAN_OPTIONS": "atexit_sleep_ms=20"}
    program = built.program(name)
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if not line.startswith("ok")]
    assert done.returncode == 0, "\n".join([*failed, done.stderr])
    assert "ok " in done.stdout
