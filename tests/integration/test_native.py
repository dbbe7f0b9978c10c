"""The native tests of the device model and of the emulated driver and CUPTI."""

import subprocess

import pytest

from helpers import built


@pytest.mark.parametrize("program", ["device_test", "emulator_test", "emulator_cupti_test"])
def test_native(program: str) -> None:
    done = subprocess.run([built.program(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
