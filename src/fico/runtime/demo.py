"""Two tenants on the emulated GPU: each alone, sharing freely, and under quotas.

Everything happens through the command `fico` itself, in a session that meets no other.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED
from fico.runtime.processes import look_up

DILATION = 20.0
"""Real seconds of one emulated second: what the machine itself takes hardly shows then."""

_CLIENT = str(Path(__file__).with_name("demo_client.py"))
_ANSWER_WITHIN_S = 60.0
_FOLDER = "fico-demo-"


@dataclass(frozen=True, slots=True)
class DemoTenant:
    """One of the two programs."""

    name: str
    layers: int
    blocks: int
    streams: int
    quota: str


# The second fills the GPU from three streams, so that it gets three parts of four where nothing
# holds it; the first has a quota of more than that.
TENANTS = (
    DemoTenant("chat", layers=12, blocks=1056, streams=1, quota="60%"),
    DemoTenant("batch", layers=12, blocks=1056, streams=3, quota="40%"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Tenants that run at the same time."""

    title: str
    policy: str
    tenants: tuple[DemoTenant, ...]
    with_quotas: bool


SCENES = (
    *(Scene("alone", "mps", (tenant,), with_quotas=False) for tenant in TENANTS),
    Scene("sharing freely", "mps", TENANTS, with_quotas=False),
    Scene("under quotas", "static", TENANTS, with_quotas=True),
)


def options_of(scene: Scene, tenant: DemoTenant) -> list[str]:
    """The arguments of `fico run` before the program."""
    quota = ["--quota", tenant.quota] if scene.with_quotas else []
    return ["--gpu", EMULATED, "--policy", scene.policy, *quota, "--name", tenant.name]


@contextmanager
def private_sessions() -> Iterator[Mapping[str, str]]:
    """An environment whose sessions nobody else sees; they and their files end with it."""
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    _remove_leftovers(Path(root))
    # Process id and user are in the name: a demo that was killed is cleaned away by the next.
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getuid()}-{os.getpid()}-", dir=root)
    environment = {
        **os.environ,
        "FICO_RUNTIME_DIR": folder,
        "FICO_SHM_DIR": folder,
        "FICO_EMULATED_STATE": f"{folder}/device",
        "FICO_EMULATED_DILATION": str(DILATION),
    }
    try:
        yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(root: Path) -> None:
    for folder in root.glob(f"{_FOLDER}{os.getuid()}-*"):
        pid = folder.name.removeprefix(_FOLDER).split("-")[1]
        if pid.isdecimal() and look_up(int(pid)) is None:
            shutil.rmtree(folder, ignore_errors=True)


def play(scene: Scene, seconds: float, environment: Mapping[str, str]) -> list[list[float]]:
    """Run a scene's tenants at the same time; gives each one's latencies, in emulated seconds.

    FicoError if one of them fails. Afterwards none of them runs, and there is no session.
    """
    processes: list[subprocess.Popen[str]] = []
    try:
        for tenant in scene.tenants:
            processes.append(_start(scene, tenant, environment))
        for process in processes:
            _answer(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        answers = [json.loads(_answer(process)) for process in processes]
        return [[latency / DILATION for latency in answer] for answer in answers]
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        _fico(["down", "--force"], environment)


def _start(
    scene: Scene, tenant: DemoTenant, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    shape = [str(tenant.layers), str(tenant.blocks), str(tenant.streams)]
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "fico.cli", "run", *options_of(scene, tenant), "--"),
            *(sys.executable, "-I", _CLIENT, *shape),
        ],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str]) -> str:
    """The next line of a tenant."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, complaint = process.communicate()
        reason = complaint.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise FicoError(f"a tenant of the demo ended: {reason[0]}", "see 'fico doctor'")
    return line


def _fico(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-P", "-m", "fico.cli", *arguments],
        env={**environment, "FICO_GPU": EMULATED},
        capture_output=True,
        check=False,
        timeout=_ANSWER_WITHIN_S,
    )
