"""The file of `fico launch`: what it means, and errors that name what is wrong in it."""

from pathlib import Path

import pytest

from fico.runtime.errors import UsageError
from fico.runtime.launchfile import LaunchPlan, read_launch_file
from fico.runtime.quota import Quota
from fico.runtime.tenant import TenantSpec

WHOLE = """
gpu = 0
policy = "static"

[[tenant]]
name = "resnet"
command = "python serve.py --title 'two words'"
quota = "60%"
memory = "20GiB"
priority = -1
cwd = "serve"
env = { OMP_NUM_THREADS = "4" }

[[tenant]]
command = ["./vgg"]
"""


def read(folder: Path, text: str) -> LaunchPlan:
    (folder / "t.toml").write_text(text)
    return read_launch_file(folder / "t.toml")


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as refusal:
        read(folder, text)
    return str(refusal.value).replace(f"{folder}/", "")


def test_a_whole_file(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == LaunchPlan(
        gpu="0",
        policy="static",
        settings=None,
        tenants=(
            TenantSpec(
                command=("python", "serve.py", "--title", "two words"),
                name="resnet",
                quota=Quota(ppm=600_000),
                memory_bytes=20 << 30,
                priority=-1,
                environment={"OMP_NUM_THREADS": "4"},
                folder=str(tmp_path / "serve"),
            ),
            TenantSpec(command=("./vgg",), folder=str(tmp_path)),
        ),
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('"60%"', '"60"'), "t.toml:8: tenant 'resnet': quota: quota '60' is not understood"),
        (('"60%"', "60"), "t.toml:8: tenant 'resnet': quota: 60 must be text in quotes"),
        (('"20GiB"', '"20Gi"'), "t.toml:9: tenant 'resnet': memory: size '20Gi'"),
        (("priority = -1", 'priority = "high"'), "t.toml:10: tenant 'resnet': priority: "),
        (('"resnet"', '"res net"'), "t.toml:6: tenant 'res net': name: name 'res net'"),
        (("cwd", "cdw"), "t.toml:11: tenant 'resnet': cdw: is not known here, only command,"),
        (('command = ["./vgg"]', 'name = "v"'), "t.toml:14: tenant 'v': command: is missing"),
        (('["./vgg"]', "[]"), "t.toml:15: tenant 2: command: "),
        (("policy", "polity"), "t.toml:3: polity: is not known here, only gpu, policy, settings,"),
        (('"static"', '"fair"'), "t.toml:3: policy: "),
        (
            ('command = "python', "command = \"'python"),
            "t.toml:7: tenant 'resnet': command: No closing",
        ),
        (('["./vgg"]', '["./vgg"]\nname = "resnet"'), "t.toml: two tenants are named 'resnet'"),
        (("[[tenant]]", "[[tenants]]"), "t.toml: tenant: is missing"),
        (('"resnet"', '"resnet'), "t.toml is not TOML: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], line: str) -> None:
    text = WHOLE.replace(*change)
    assert text != WHOLE
    assert complaint(tmp_path, text).startswith(line)


@pytest.mark.parametrize("text", ["", "tenant = []", "tenant = 3", "[tenant]\ncommand = 'x'"])
def test_a_file_without_tenants(tmp_path: Path, text: str) -> None:
    assert "tenant" in complaint(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_launch_file(tmp_path / "absent")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_launch_file(tmp_path / "t.toml")
