"""Tenants that are killed, stopped, forked or given a damaged arena: the others go on.

FICO_KILLS sets how many are killed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fico import _native
from helpers import built, runner
from helpers.patience import PATIENCE_S
from helpers.session import Session, Tenant, emulated_env, run_plain
from helpers.strategies import random_program

KILLS = int(os.environ.get("FICO_KILLS", "1000"))
CONTROL = """
import os, random, sys, time
from fico import _native
arena, source = _native.Arena.open(sys.argv[1]), random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    try:
        name = f"c{os.getpid()}"
        slot, generation = arena.join(name, os.getpid(), quota_units=1)
        arena.update(name, quota_units=source.randint(1, 2))
        arena.update(name, quota_ppm=source.randint(1, 60_000))
        for row in arena.tenants():
            arena.update(row["name"], priority=source.randint(-2, 2))
        policies = ["static", "static", "shuffle", "mps", "fico", "jumble", "krisp"]
        arena.set_policy(source.choice(policies))
        arena.leave(slot, generation)
        arena.sweep()
    except _native.ArenaError:
        pass  # A name or a quota that another process was quicker with.
    time.sleep(0.0005)  # leaves the CPUs to the tenants
"""


def left_behind(session: Session, pids: list[int]) -> list[str]:
    """Files of the session or of these processes where there should be none."""
    # ThreadSanitizer makes a file as a process starts and removes it at once, unless it is killed.
    own = [p for p in session.temporary.rglob("*") if not p.name.startswith("tsan.rodata.")]
    found = [str(path) for path in own]
    files = [p for p in session.folder.iterdir() if p.is_file()]
    found += [str(p) for p in files if p.name != "arena" and not p.name.startswith("stderr")]
    names = [str(path) for place in ("/dev/shm", "/tmp") for path in Path(place).glob("*fico*")]
    mine = re.compile("|".join(rf"(?<!\d){pid}(?!\d)" for pid in pids) or "$^")
    return found + [name for name in names if mine.search(name)]


def busy(session: Session, *args: str, **options: object) -> Tenant:
    command = [str(built.program("busy_tenant")), *args]
    return session.start(command, **options)  # type: ignore[arg-type]


def ready(tenant: Tenant) -> Tenant:
    assert tenant.stdout.readline() == "ready\n", tenant.stderr()
    return tenant


def launches(session: Session, tenant: Tenant) -> int:
    row = session.row(tenant.name)
    assert row is not None, f"{tenant.name} is no tenant any more: {tenant.stderr()}"
    return row["counters"]["launches"]


def goes_on(session: Session, tenant: Tenant) -> None:
    """Wait until the tenant has launched more than at the time of the call."""
    before = launches(session, tenant)
    what = f"{tenant.name} launches something"
    session.until(lambda: launches(session, tenant) > before, PATIENCE_S, what)


def ends_right(tenant: Tenant) -> None:
    tenant.stdin.write("\n")
    said = tenant.stdout.readline()
    assert said.startswith("right"), f"{said} {tenant.stderr()}"
    assert tenant.wait() == 0


def start_control(session: Session, seed: int) -> subprocess.Popen[bytes]:
    """A process that joins, changes and leaves without end."""
    command = [sys.executable, "-c", CONTROL, str(session.path), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def units_are_apart(session: Session) -> None:
    """No unit is held by two tenants, and nothing is held by one that has gone."""
    rows = session.arena.tenants()
    held = [unit for row in rows if row["alive"] for unit in row["held"]]
    assert len(held) == len(set(held)), rows


class Killer:
    """Three tenants that stay, others that come and are killed, and the control processes."""

    def __init__(self, session: Session, seed: int, env: dict[str, str]) -> None:
        self.session = session
        self.source = random.Random(seed)
        self.env = env
        self.lasting = [
            ready(busy(session, name=f"lasting{i}", quota_units=3, env=env)) for i in range(2)
        ]
        self.mortal: list[Tenant] = []
        self.kills = 0
        self.pids: list[int] = []

    def step(self) -> None:
        """Start a tenant with all units that are free, or kill one at a random moment."""
        if len(self.mortal) < 2:
            self.mortal.append(
                busy(self.session, name=f"mortal{self.kills}.{len(self.mortal)}", quota_units=3)
            )
            return
        tenant = self.mortal.pop(self.source.randrange(len(self.mortal)))
        # Anywhere from the start of the process to work under way.
        for _ in range(self.source.choice((0, 1, 10, 100, 1000))):
            os.sched_yield()
        if self.source.random() < 0.4:
            tenant.stdout.readline()
        tenant.kill()
        tenant.close()
        self.pids.append(tenant.pid)
        self.session.tenants.remove(tenant)
        self.kills += 1

    def units_come_back(self, timeout_s: float) -> None:
        """The survivors or the next call find the killed tenant's units free."""

        def gone() -> bool:
            self.session.arena.sweep()
            return all(row["alive"] for row in self.session.arena.tenants())

        self.session.until(gone, timeout_s, "the units of the killed tenant come back")
        units_are_apart(self.session)


def test_a_thousand_kills(tmp_path: Path) -> None:
    """GIVEN tenants and control processes killed at random moments
    THEN the others go on and end right, the units come back, and no file is left."""
    with Session(tmp_path) as session:
        killer = Killer(session, 1, emulated_env())
        control: list[subprocess.Popen[bytes]] = []
        rounds = 0
        while killer.kills < KILLS:
            rounds += 1
            killer.step()
            if rounds % 10 == 0:
                if control:
                    process = control.pop()
                    process.kill()
                    process.communicate()
                    killer.kills += 1
                control.append(start_control(session, rounds))
                assert control[-1].stdout
                control[-1].stdout.readline()
            killer.units_come_back(0.1)
            if rounds % 50 == 0:
                for tenant in killer.lasting:
                    goes_on(session, tenant)
        for process in control:
            process.kill()
            process.communicate()
        session.arena.set_policy("static")
        for tenant in killer.lasting:
            goes_on(session, tenant)
            ends_right(tenant)
        for tenant in killer.mortal:
            tenant.kill()
        session.arena.sweep()
        assert session.arena.tenants() == []
        slot, generation = session.arena.join("all", os.getpid(), quota_ppm=1_000_000)
        session.arena.leave(slot, generation)
        reopened = _native.Arena.open(str(session.path))
        assert reopened.sms_per_unit == session.arena.sms_per_unit
        assert left_behind(session, killer.pids) == []


def test_kills_on_the_shared_emulated_device(tmp_path: Path) -> None:
    """GIVEN a device whose state the tenants share THEN a kill does not stop the others."""
    env = emulated_env(None, instant=False)
    env["FICO_EMULATED_STATE"] = str(tmp_path / "device")
    with Session(tmp_path) as session:
        lasting = ready(busy(session, quota_units=5, env=env))
        for _ in range(25):
            tenant = ready(busy(session, quota_units=5, env=env))
            tenant.kill()
            goes_on(session, lasting)
        ends_right(lasting)


def test_units_come_back_without_anyone_asking(tmp_path: Path) -> None:
    """GIVEN a tenant that is killed THEN its neighbour's library ends it within 100 ms."""
    with Session(tmp_path) as session:
        lasting = ready(busy(session, quota_units=8))
        for _ in range(10):
            tenant = ready(busy(session, quota_units=8))
            tenant.kill()
            gone: Callable[[], bool] = lambda name=tenant.name: session.row(name) is None  # type: ignore[misc]  # noqa: E731
            session.until(gone, 0.1, "the killed tenant is swept by its neighbour")
        ends_right(lasting)


def test_a_stopped_tenant_does_not_stop_the_others(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        stopped = ready(busy(session, quota_units=5))
        other = ready(busy(session, quota_units=5))
        for quota in (3, 7, 1, 5):
            stopped.signal(signal.SIGSTOP)
            session.arena.update(stopped.name, quota_units=quota)
            session.arena.update(other.name, quota_units=quota + 1)
            goes_on(session, other)
            stopped.signal(signal.SIGCONT)
            goes_on(session, stopped)
        ends_right(stopped)
        ends_right(other)


def test_a_child_keeps_its_tenant_alive(tmp_path: Path) -> None:
    """GIVEN a tenant whose child works on after an exec WHEN the parent is killed
    THEN the units stay with the child, and come back when it is killed too."""
    with Session(tmp_path) as session:
        parent = ready(busy(session, "--fork", quota_units=16))
        row = session.row(parent.name)
        assert row is not None
        children = [pid for pid in row["processes"] if pid != parent.pid]
        assert len(children) == 1, row
        parent.kill()
        session.arena.sweep()
        assert session.row(parent.name) is not None
        goes_on(session, parent)
        with pytest.raises(_native.ArenaError):
            session.arena.join("other", os.getpid(), quota_units=1)
        os.kill(children[0], signal.SIGKILL)

        def gone() -> bool:
            session.arena.sweep()
            return session.row(parent.name) is None

        session.until(gone, 5, "the tenant ends with its last process")


def test_a_forked_tenant_ends_right(tmp_path: Path) -> None:
    with Session(tmp_path, "shuffle") as session:
        tenant = ready(busy(session, "--fork", quota_units=7))
        goes_on(session, tenant)
        tenant.stdin.write("\n")
        assert tenant.stdout.readline().startswith("right")
        assert tenant.wait() == 0, tenant.stderr()


def random_bytes(data: bytearray) -> bytes:
    return random.Random(1).randbytes(len(data))


def other_version(data: bytearray) -> bytes:
    data[8] += 1
    return bytes(data)


def other_size(data: bytearray) -> bytes:
    data[12] ^= 1
    return bytes(data)


DAMAGE: dict[str, Callable[[bytearray], bytes]] = {
    "random bytes": random_bytes,
    "another version": other_version,
    "another size": other_size,
    "empty": lambda _: b"",
    "one byte": lambda _: b"x",
    "truncated": lambda data: bytes(data[: len(data) // 2]),
    "zeros": lambda data: bytes(len(data)),
}


def passes_through(env: dict[str, str], words: tuple[str, ...]) -> None:
    """A program runs right under this environment, and one clear line says what is wrong."""
    text = random_program(7)
    command = [built.program("op_runner")]
    done = run_plain(command, env, text + "end\n")
    assert done.returncode == 0, done
    outcome = runner.parse(done.stdout.splitlines()[:-1])
    assert outcome.memory == runner.expected(text)
    assert outcome.results == {}
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "fico" in lines[0]
    assert all(word in lines[0] for word in words), done.stderr


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_arena_is_passed_by(damage: str, tmp_path: Path) -> None:
    """GIVEN an arena that is no arena THEN the program runs without Fico and one line says why."""
    session = Session(tmp_path)
    slot, generation = session.arena.join("t", os.getpid(), quota_units=4)
    # A new file: the damaged one is not the one that this process has mapped.
    damaged = tmp_path / "damaged"
    damaged.write_bytes(DAMAGE[damage](bytearray(session.path.read_bytes())))
    damaged.chmod(0o600)
    env = session.env(slot, generation, emulated_env())
    env["FICO_ARENA"] = str(damaged)
    passes_through(env, (str(damaged),))
    with pytest.raises(_native.ArenaError):
        _native.Arena.open(str(damaged))


@pytest.mark.parametrize("word", ["", "x", "3", "3:", ":1", "99:1", "-1:1", "0:99", "0:1:2"])
def test_a_wrong_tenant_is_passed_by(word: str, tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.arena.join("t", os.getpid(), quota_units=4)
    env = session.env(0, 1, emulated_env())
    env["FICO_TENANT"] = word
    passes_through(env, ())


def test_a_missing_arena_is_passed_by(tmp_path: Path) -> None:
    session = Session(tmp_path)
    slot, generation = session.arena.join("t", os.getpid(), quota_units=4)
    env = session.env(slot, generation, emulated_env())
    env["FICO_ARENA"] = str(tmp_path / "gone")
    passes_through(env, (str(tmp_path / "gone"),))


def test_an_arena_that_is_removed_does_not_stop_its_tenants(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        tenant = ready(busy(session, quota_units=4))
        session.path.unlink()
        goes_on(session, tenant)
        ends_right(tenant)
