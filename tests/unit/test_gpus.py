"""Which GPU is meant, and what is said when it can't be asked."""

import ctypes

import pytest

from fico.runtime import gpus
from fico.runtime.errors import FicoError, UsageError

UUID = "GPU-01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FICO_GPU", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_gpu_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus.selected_gpu(None) == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{UUID},1")
    assert gpus.selected_gpu(None) == UUID
    monkeypatch.setenv("FICO_GPU", "2")
    assert gpus.selected_gpu(None) == "2"
    assert gpus.selected_gpu("emulated") == "emulated"


@pytest.mark.parametrize("gpu", ["first", "-1", "GPU-1", "1.5", "²"])
def test_what_is_no_gpu_is_wrong_usage(gpu: str) -> None:
    with pytest.raises(UsageError, match=gpu):
        gpus.selected_gpu(gpu)


def answer(**fields: object) -> dict[str, object]:
    return {"gpus": [], "gpu": None, "error": None, **fields}


def test_an_unknown_gpu_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [{"index": 0, "uuid": UUID, "name": "NVIDIA H200"}]
    monkeypatch.setattr(gpus, "ask_driver", lambda *_: answer(gpus=known))
    with pytest.raises(FicoError) as refusal:
        gpus.find_gpu("7")
    assert str(refusal.value) == f"there is no GPU 7; there are: 0: NVIDIA H200 ({UUID})"


def test_a_driver_without_green_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "the driver has no cuDeviceGetDevResource"
    monkeypatch.setattr(gpus, "ask_driver", lambda *_: answer(error=error))
    with pytest.raises(FicoError, match="550 or newer"):
        gpus.find_gpu("0")


def test_no_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(FicoError, match="no driver"):
            gpus.find_gpu("0")
    else:
        pytest.skip("this machine has a driver")


def test_a_probe_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_PROBE", "/no/such/probe")
    with pytest.raises(FicoError, match="asking the driver ended with 2"):
        gpus.find_gpu("0")
