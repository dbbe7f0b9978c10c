"""`fico run`, `status`, `set` and `down` with real processes on the emulated GPU."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fico import _native
from helpers.cli import FICO, Cli, new_cli, read_line
from helpers.patience import PATIENCE_S

PROBE = "import os, json, sys; json.dump(dict(os.environ), sys.stdout)"


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def test_the_process_becomes_the_program(fico: Cli) -> None:
    process = fico.start("run", "--", "sh", "-c", "echo $$; exit 7")
    assert read_line(process) == f"{process.pid}\n"
    assert process.wait(PATIENCE_S) == 7


def test_a_program_dies_of_its_own_signals(fico: Cli) -> None:
    process = fico.start("run", "--", "sh", "-c", "kill -SEGV $$")
    assert process.wait(PATIENCE_S) == -signal.SIGSEGV


def test_signals_do_what_they_do_without_fico(fico: Cli) -> None:
    ignored = "grep SigIgn /proc/self/status"
    plain = subprocess.run(["sh", "-c", ignored], capture_output=True, text=True, check=True)
    assert fico("run", "--", "sh", "-c", ignored).out == plain.stdout


def test_standard_streams_and_arguments_are_the_programs_own(fico: Cli) -> None:
    done = fico("run", "--name", "x", "--", "sh", "-c", "echo $1; echo err >&2", "sh", "--quota")
    assert (done.code, done.out, done.err) == (0, "--quota\n", "err\n")


def test_options_after_the_program_are_the_programs(fico: Cli) -> None:
    done = fico("run", "--name", "x", "sh", "-c", 'echo "$@"', "sh", "--name", "--", "--help")
    assert (done.code, done.out) == (0, "--name -- --help\n")


def test_the_first_tenant_starts_the_session(fico: Cli) -> None:
    assert fico.status() == []
    tenant = fico.tenant("--quota", "50%", "--memory", "1GiB", "--priority", "-2", "--name", "a")
    (session,) = fico.status()
    assert session["emulated"]
    assert session["policy"] == "static"
    assert session["sms_per_unit"] == [8] * 15 + [12]
    assert session["problem"] is None
    (row,) = session["tenants"]
    assert row["pid"] == tenant.pid
    assert (row["name"], row["quota"], row["priority"]) == ("a", "50%", -2)
    assert row["memory_bytes"] == 1 << 30
    assert stat.S_IMODE(fico.arena.stat().st_mode) == 0o600


def test_tenants_have_their_own_units_and_names(fico: Cli) -> None:
    for quota in ("25%", "6u"):
        fico.tenant("--quota", quota)
    tenants = fico.tenants()
    assert sorted(tenants) == ["sh", "sh-2"]
    (first, second) = tenants.values()
    assert first["quota"] == "25%"
    assert second["quota"] == "6u"
    assert second["units"][1] - second["units"][0] == 6
    assert first["units"][1] <= second["units"][0]


def test_units_of_an_ended_tenant_come_back(fico: Cli) -> None:
    tenant = fico.tenant("--quota", "100%")
    assert fico("run", "--quota", "1u", "--", "true").code == 1
    tenant.kill()
    tenant.wait()
    assert fico("run", "--quota", "100%", "--", "true").code == 0


def test_quotas_beyond_the_gpu_are_refused_with_numbers_and_remedy(fico: Cli) -> None:
    fico.tenant("--quota", "60%", "--name", "big")
    done = fico("run", "--quota", "50%", "--name", "more", "--", "true")
    assert done.code == 1
    for part in ("110%", "big 60%", "more 50%", "fico set"):
        assert part in done.line
    assert list(fico.tenants()) == ["big"]


@pytest.mark.parametrize("quota", ["17u", "120%"])
def test_a_first_tenant_that_does_not_fit_leaves_no_session(fico: Cli, quota: str) -> None:
    assert fico("run", "--quota", quota, "--", "true").code in (1, 2)
    assert fico.leftovers() == []


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["run", "--quota", "40", "--", "true"], 2, "write a share as 40%"),
        (["run", "--quota", "0%", "--", "true"], 2, "more than 0%"),
        (["run", "--memory", "20Gi", "--", "true"], 2, "20GiB"),
        (["run", "--memory", "1000", "--", "true"], 2, "1 MiB"),
        (["run", "--priority", "high", "--", "true"], 2, "--priority"),
        (["run", "--policy", "fair", "--", "true"], 2, "static"),
        (["run", "--name", "a b", "--", "true"], 2, "letters"),
        (["run", "--gpu", "first", "--", "true"], 2, "nvidia-smi -L"),
        (["run", "--qouta", "40%", "--", "true"], 2, "--qouta"),
        (["run"], 2, "no command"),
        (["run", "--"], 2, "no command"),
        (["run", "--", "no-such-program"], 1, "PATH"),
        (["run", "--", "./no-such-program"], 1, "does not exist"),
        (["run", "--", "/"], 1, "is a folder"),
        (["run", "--", "/etc/passwd"], 1, "not executable"),
        (["set", "nobody", "--quota", "40%"], 1, "no session"),
        (["set", "nobody"], 2, "nothing to change"),
        (["set", "--quota", "40%"], 2, "name of the tenant"),
        (["set"], 2, "nothing to change"),
        (["down"], 1, "no session"),
        (["down", "--", "x"], 2, "--"),
        (["launch"], 2, "file"),
        (["launch", "absent.toml"], 2, "cannot be read"),
        (["fly"], 2, "no command 'fly'"),
        (["--fast"], 2, "--fast"),
    ],
)
def test_wrong_usage_is_one_line(fico: Cli, arguments: list[str], code: int, part: str) -> None:
    done = fico(*arguments)
    assert done.code == code
    assert done.line.startswith("fico: ")
    assert part in done.line
    assert fico.leftovers() == []


def test_help_is_there_for_every_command(fico: Cli) -> None:
    done = fico()
    assert (done.code, done.err) == (0, "")
    for command in ("run", "launch", "status", "timeline", "set", "down", "doctor", "demo"):
        assert f"  {command} " in done.out
        assert fico(command, "--help").code == 0


def test_a_program_that_cannot_be_executed_leaves_no_session(fico: Cli, tmp_path: Path) -> None:
    # Passes every check but the kernel's: the loader that it names is no program.
    (tmp_path / "loader").write_bytes(b"")
    (tmp_path / "loader").chmod(0o755)
    data = Path("/bin/true").read_bytes()
    at = data.index(b"/lib64/ld-linux-x86-64.so.2\0") if b"/lib64/ld-linux" in data else -1
    if at < 0:
        pytest.skip("another loader")
    fake = b"/etc/hostname\0"
    (tmp_path / "odd").write_bytes(data[:at] + fake.ljust(28, b"\0") + data[at + 28 :])
    (tmp_path / "odd").chmod(0o755)
    done = fico("run", "--", str(tmp_path / "odd"))
    assert done.code == 1
    assert done.line.startswith("fico: ")
    assert fico.leftovers() == []


def test_quota_priority_and_name_change_while_running(fico: Cli) -> None:
    fico.tenant("--quota", "60%", "--name", "a")
    assert fico("set", "a", "--quota", "25%", "--priority", "3", "--name", "b").code == 0
    (tenant,) = fico.tenants().values()
    assert (tenant["name"], tenant["quota"], tenant["priority"]) == ("b", "25%", 3)
    assert fico("set", "b", "--quota", "4u").code == 0
    assert fico.tenants()["b"]["quota"] == "4u"
    assert fico("set", "b", "--quota", "none").code == 0
    assert fico.tenants()["b"]["quota"] is None


def test_a_change_that_does_not_fit_changes_nothing(fico: Cli) -> None:
    fico.tenant("--quota", "60%", "--name", "a")
    fico.tenant("--quota", "40%", "--name", "b")
    assert "110%" in fico("set", "b", "--quota", "50%").line
    assert "there is a tenant 'a' already" in fico("set", "b", "--name", "a").line
    assert "there is no tenant 'c'" in fico("set", "c", "--quota", "1%").line
    assert fico.tenants()["b"]["quota"] == "40%"


def test_the_policy_is_the_sessions(fico: Cli) -> None:
    fico.tenant("--policy", "mps", "--name", "a")
    done = fico("run", "--policy", "static", "--", "true")
    assert done.code == 1
    assert "policy mps" in done.line
    assert "fico set --policy static" in done.line
    assert fico("set", "--policy", "static").code == 0
    assert fico("run", "--policy", "static", "--", "true").code == 0
    (session,) = fico.status()
    assert session["policy"] == "static"


def test_the_table_shows_the_tenants(fico: Cli) -> None:
    fico.tenant("--quota", "50%", "--memory", "2G", "--name", "resnet")
    done = fico("status")
    assert done.code == 0
    assert "emulated: no real GPU" in done.out
    (row,) = [line for line in done.out.splitlines() if line.startswith("resnet")]
    assert row.split()[2:5] == ["50%", "0-7", "64"]
    assert "2 GiB" in row


def test_down_refuses_while_tenants_live(fico: Cli) -> None:
    tenant = fico.tenant("--name", "a")
    done = fico("down")
    assert done.code == 1
    assert "has tenants: a" in done.line
    assert "fico down --force" in done.line
    assert tenant.poll() is None
    assert fico("down", "--force").code == 0
    assert tenant.wait(PATIENCE_S) == -signal.SIGTERM
    assert fico.leftovers() == []


def test_down_ends_a_tenant_that_ignores_sigterm(fico: Cli) -> None:
    script = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(); sys.stdin.read()"
    process = fico.start("run", "--", sys.executable, "-uc", script)
    read_line(process)
    assert fico("down", "--force").code == 0
    assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_down_leaves_nothing(fico: Cli) -> None:
    assert fico("run", "--", "true").code == 0
    assert fico("down").code == 0
    assert fico.leftovers() == []
    assert fico.status() == []


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_arena_is_one_line_and_can_be_removed(fico: Cli, damage: bytes | None) -> None:
    assert fico("run", "--", "true").code == 0
    if damage is None:  # of another version
        with fico.arena.open("r+b") as file:
            file.seek(8)
            file.write((99).to_bytes(4, "little"))
    else:
        fico.arena.write_bytes(damage)
    for command in (["run", "--", "true"], ["set", "--policy", "mps"], ["down"]):
        done = fico(*command)
        assert done.code == 1
        assert "fico down --force" in done.line
    (session,) = fico.status()
    assert "fico down --force" in session["problem"]
    assert fico("status").code == 0
    assert fico("down", "--force").code == 0
    assert fico.leftovers() == []
    assert fico("run", "--", "true").code == 0


def test_no_space_for_the_arena(fico: Cli) -> None:
    done = fico("run", "--", "true", FICO_SHM_DIR="/sys")  # a file system of no size
    assert done.code == 1
    assert "no space in /sys" in done.line
    assert "--shm-size" in done.line
    assert fico.leftovers() == []


def test_no_folder_for_the_arena(fico: Cli) -> None:
    done = fico("run", "--", "true", FICO_SHM_DIR="/no/such")
    assert done.code == 1
    assert "/no/such" in done.line
    assert fico.leftovers() == []


def test_no_driver_is_one_line(fico: Cli) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    done = fico("run", "--gpu", "0", "--", "true")
    assert done.code == 1
    assert "no driver" in done.line
    assert fico.leftovers() == []


def test_a_library_that_cannot_be_preloaded_is_one_line(fico: Cli, tmp_path: Path) -> None:
    (tmp_path / "libfico.so").write_bytes(b"not a library")
    program = (
        "import sys; from fico import _native; from fico.cli import main;"
        f"_native.library_path = lambda: {str(tmp_path / 'libfico.so')!r};"
        "sys.exit(main(['run', '--', 'true']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=fico.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be preloaded" in done.stderr
    assert fico.leftovers() == []


def test_the_environment_of_a_tenant(fico: Cli) -> None:
    done = fico("run", "--", sys.executable, "-c", PROBE, LD_PRELOAD="", LD_LIBRARY_PATH="/own")
    environment = json.loads(done.out)
    assert environment["LD_PRELOAD"] == _native.library_path()
    assert environment["LD_LIBRARY_PATH"] == f"{_native.emulated_driver_dir()}:/own"
    assert environment["FICO_ARENA"] == str(fico.arena)


def test_output_that_nobody_reads_is_no_traceback(fico: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*FICO, "status"],
        env=fico.env,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert "Traceback" not in done.stderr


def test_a_killed_tenant_leaves_nothing_and_others_go_on(fico: Cli) -> None:
    first, second = fico.tenant("--name", "a"), fico.tenant("--name", "b")
    first.kill()
    first.wait()
    assert list(fico.tenants()) == ["b"]
    assert second.poll() is None
    assert fico.tenants()["b"]["units"] == [0, 16]


@pytest.mark.parametrize("delay_ms", range(0, 80, 5))
def test_fico_killed_at_any_time_is_mended_by_the_next_command(fico: Cli, delay_ms: int) -> None:
    """GIVEN a first `fico run` WHEN it is killed while it starts THEN the next one works."""
    process = fico.start("run", "--", "true")
    try:
        process.wait(delay_ms / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert fico("run", "--quota", "100%", "--", "true").code == 0
    assert fico("down").code == 0
    assert fico.leftovers() == []


def test_tenants_that_start_at_once_share_one_session(fico: Cli) -> None:
    processes = [
        fico.start("run", "--quota", "2u", "--", "sh", "-c", "echo; exec cat") for _ in range(8)
    ]
    for process in processes:
        assert read_line(process) == "\n"
    tenants = fico.tenants().values()
    assert len(tenants) == 8
    assert len({tenant["name"] for tenant in tenants}) == 8
    assert sorted(tenant["units"][0] for tenant in tenants) == list(range(0, 16, 2))


def test_a_tenant_that_ends_by_itself_is_gone(fico: Cli) -> None:
    tenant = fico.tenant("--name", "a")
    tenant.communicate("")
    assert tenant.returncode == 0
    assert fico.tenants() == {}


def as_nobody(fico: Cli, imports: str, action: str) -> subprocess.CompletedProcess[str]:
    """Run Python as another user; what it imports is imported before, as the interpreter may be."""
    program = (
        f"import os, sys; {imports}; os.setgroups([]); os.setgid(65534); os.setuid(65534); {action}"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env=fico.env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_users_session_is_out_of_reach(fico: Cli) -> None:
    fico.tenant("--name", "a")
    for folder in (fico.shm_dir, *fico.shm_dir.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    arena = repr(str(fico.arena))
    opened = as_nobody(fico, "from fico import _native", f"_native.Arena.open({arena})")
    assert "PermissionError" in opened.stderr
    # Not even if its owner had opened it to all.
    fico.arena.chmod(0o666)
    opened = as_nobody(fico, "from fico import _native", f"_native.Arena.open({arena})")
    assert "serves only the user who started it" in opened.stderr
    fico.arena.chmod(0o600)
    locked = as_nobody(
        fico, "from fico.runtime.lock import sessions_locked", "sessions_locked().__enter__()"
    )
    assert "FicoError" in locked.stderr
    assert "belongs to user 0" in locked.stderr
    assert list(fico.tenants()) == ["a"]
