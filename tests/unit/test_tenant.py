"""What a tenant's program is given: its name and its environment."""

from pathlib import Path

import pytest

from fico import _native
from fico.records.gpu import Gpu
from fico.runtime.errors import UsageError
from fico.runtime.preload import with_preload
from fico.runtime.session import Session
from fico.runtime.tenant import (
    Membership,
    TenantSpec,
    check_name,
    default_name,
    tenant_environment,
    unique_name,
)

UUID = "GPU-01234567-89ab-cdef-0123-456789abcdef"
REAL = Session(Gpu(0, UUID, "H200", "580.1", (8, 8)))
EMULATED = Session(Gpu(0, UUID, "emulated", "emulated", (8, 8), emulated=True))
MEMBER = Membership("resnet", 3, 7)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["./resnet"], "resnet"),
        (["/opt/bin/serve", "--port", "1"], "serve"),
        (["python", "serve.py"], "serve"),
        (["/usr/bin/python3.11", "-u", "models/resnet50.py", "x.py"], "resnet50"),
        (["python3", "-m", "vllm.entrypoints.api_server"], "api_server"),
        (["python3", "-c", "pass"], "python3"),
        (["bash", "start.sh"], "start"),
        (["python"], "python"),
        (["./a b$c"], "a-b-c"),
        (["./…"], "tenant"),
        (["./" + "x" * 100], "x" * 56),
    ],
)
def test_a_tenant_is_named_after_its_program(command: list[str], name: str) -> None:
    assert default_name(command) == name
    check_name(name)


def test_a_default_name_is_made_unique() -> None:
    assert unique_name("resnet", {"vgg"}) == "resnet"
    assert unique_name("resnet", {"resnet", "resnet-2"}) == "resnet-3"


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "x" * 64, "a\n"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_the_preload_comes_first_and_once() -> None:
    assert with_preload("", "/x/libfico.so") == "/x/libfico.so"
    assert with_preload("/a.so:/b.so", "/x/libfico.so") == "/x/libfico.so:/a.so:/b.so"
    assert with_preload("/a.so /x/libfico.so", "/x/libfico.so") == "/x/libfico.so:/a.so"


def test_a_tenant_of_a_real_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FICO_RUNTIME_DIR", "/run/f")
    monkeypatch.setenv("FICO_SHM_DIR", "/shm")
    base = {"LD_PRELOAD": "/a.so", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "10", "HOME": "/h"}
    spec = TenantSpec(("x",), memory_bytes=20 << 30, environment={"HOME": "/mine"})
    environment = tenant_environment(REAL, MEMBER, spec, base)
    assert environment == {
        "LD_PRELOAD": f"{_native.library_path()}:/a.so",
        "FICO_ARENA": str(REAL.arena_path),
        "FICO_TENANT": "3:7",
        "CUDA_VISIBLE_DEVICES": UUID,
        "CUDA_MPS_PIPE_DIRECTORY": f"/run/f/{UUID}/mps",
        "CUDA_MPS_LOG_DIRECTORY": f"/run/f/{UUID}/log",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=20480M",
        "HOME": "/mine",
    }
    assert REAL.arena_path.parent == Path("/shm")


def test_a_tenant_of_the_emulated_gpu_finds_its_driver_and_no_mps() -> None:
    environment = tenant_environment(
        EMULATED, MEMBER, TenantSpec(("x",)), {"LD_LIBRARY_PATH": "/l"}
    )
    assert environment["LD_LIBRARY_PATH"] == f"{_native.emulated_driver_dir()}:/l"
    assert not [name for name in environment if name.startswith("CUDA_MPS")]
    assert environment["FICO_EMULATED_STATE"] == f"{EMULATED.arena_path}.device"


def test_a_memory_limit_below_what_mps_counts_is_refused() -> None:
    with pytest.raises(UsageError, match="1 MiB"):
        TenantSpec(("x",), memory_bytes=1000).check()
