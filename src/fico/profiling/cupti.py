"""Where CUPTI is, for a program that has not loaded it itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

LIBRARY = "libcupti.so.13"
_PYTHON = re.compile(r"(python|pypy)[\d.]*")
_FIND = (
    "import glob, sys; "
    f"print('\\n'.join(h for p in sys.path for h in glob.glob(p + '/nvidia/*/lib/{LIBRARY}')))"
)


def find_cupti(command: Sequence[str]) -> Path | None:
    """CUPTI beside the program's Python, in a toolkit, or beside our Python; None: the loader's."""
    return next((path for path in _candidates(command) if path.is_file()), None)


def _candidates(command: Sequence[str]) -> Iterator[Path]:
    interpreters = [sys.executable]
    if command and _PYTHON.fullmatch(Path(command[0]).name):
        found = shutil.which(command[0])
        interpreters = ([found] if found else []) + interpreters
    yield from _in_wheels(interpreters[0])
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if root:
            yield Path(root) / "extras" / "CUPTI" / "lib64" / LIBRARY
            yield Path(root) / "lib64" / LIBRARY
    yield from (path for other in interpreters[1:] for path in _in_wheels(other))


def _in_wheels(interpreter: str) -> Iterator[Path]:
    try:
        done = subprocess.run(
            [interpreter, "-c", _FIND], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    yield from map(Path, done.stdout.split())
