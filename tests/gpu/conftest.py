"""Sessions on a real GPU that meet nobody else's."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import Cli, new_cli


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    # The sockets of MPS need a short path.
    short = Path(tempfile.mkdtemp(prefix="fico-test-"))
    for cli in new_cli(tmp_path):
        cli.run_dir = short / "run"
        cli.env |= {"FICO_RUNTIME_DIR": str(cli.run_dir), "FICO_GPU": "0"}
        yield cli
    shutil.rmtree(short)
