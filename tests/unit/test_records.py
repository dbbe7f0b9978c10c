"""Records come back as they were written, and nothing else comes back."""

import json
from pathlib import Path

import pytest

from fico.records.gpu import Gpu
from fico.records.session import SessionRecord

RECORD = SessionRecord(Gpu(1, "GPU-x", "H200", "580.1", (8, 8, 12)))


def test_a_session_record_comes_back(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "session.json")
    assert SessionRecord.load(tmp_path / "session.json") == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["session.json"]
    assert RECORD.gpu.sms == 28


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "3", '{"version": 1}', '{"version": 1, "gpu": {"index": 1}}']
)
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "session.json").write_text(text)
    assert SessionRecord.load(tmp_path / "session.json") is None


def test_another_version_is_none(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "session.json")
    fields = json.loads((tmp_path / "session.json").read_text())
    (tmp_path / "session.json").write_text(json.dumps({**fields, "version": 2}))
    assert SessionRecord.load(tmp_path / "session.json") is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert SessionRecord.load(tmp_path / "absent") is None
