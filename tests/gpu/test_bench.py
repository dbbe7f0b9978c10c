"""`fico bench run --device cuda` on a real GPU, with PyTorch. Run with: pytest -m gpu tests/gpu"""

import json
from pathlib import Path

import pytest

from helpers.cli import Cli

pytestmark = pytest.mark.gpu

POLICIES = {
    *("mps", "mps-quota", "static", "timeslice"),
    *("fico", "reef", "krisp", "orion", "lithos"),
}


def test_the_smoke_suite_under_all_policies(fico: Cli, tmp_path: Path) -> None:
    process = fico.start("bench", "run", "smoke", "--device", "cuda", "--out", "a")
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert "smoke on cuda (NVIDIA" in out
    cells = json.loads((tmp_path / "a" / "summary.json").read_text())["cells"]
    assert {row["policy"] for row in cells} == POLICIES
    assert len(cells) == 3 * len(POLICIES)
    # Whatever else there may be against a run, Fico has confined every launch.
    reasons = [reason for row in cells for reason in row["invalid_because"]]
    assert not [reason for reason in reasons if "open_" in reason]
    assert fico.status() == []
