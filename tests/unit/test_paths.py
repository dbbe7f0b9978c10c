"""The folder of a user's sessions is that user's alone."""

import os
from pathlib import Path

import pytest

from fico.runtime.errors import FicoError
from fico.runtime.paths import arena_path, runtime_dir


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FICO_RUNTIME_DIR", str(tmp_path / "fico"))
    return tmp_path / "fico"


def test_it_is_made_for_its_user_alone(folder: Path) -> None:
    assert runtime_dir() == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_looking_makes_nothing(folder: Path) -> None:
    assert runtime_dir(create=False) == folder
    assert not folder.exists()


def test_a_file_in_its_place(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(FicoError, match="FICO_RUNTIME_DIR"):
        runtime_dir()


def test_a_link_in_its_place(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder.symlink_to(tmp_path / "other")
    with pytest.raises(FicoError, match="is a link"):
        runtime_dir()


def test_one_that_is_open_to_others(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with pytest.raises(FicoError, match="open to other users"):
        runtime_dir()


def test_no_folder_to_make_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FICO_RUNTIME_DIR", "/no/such/place")
    with pytest.raises(FicoError, match="/no/such does not exist"):
        runtime_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder to another user")
def test_one_of_another_user(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(FicoError, match="belongs to user 65534"):
        runtime_dir()


def test_arenas_are_named_after_user_and_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FICO_SHM_DIR", raising=False)
    assert arena_path("GPU-x") == Path(f"/dev/shm/fico-{os.getuid()}-GPU-x")
