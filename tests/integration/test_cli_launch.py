"""`fico launch` with real processes on the emulated GPU."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fico.runtime.pump import fork_pump, new_lock
from helpers.cli import FICO, Cli, Done, new_cli, read_line, runs, until
from helpers.patience import PATIENCE_S


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def write(fico: Cli, *tenants: dict[str, Any]) -> str:
    """A launch file with these tenants."""
    lines = []
    for tenant in tenants:
        lines += ["[[tenant]]", *(f"{name} = {toml(value)}" for name, value in tenant.items())]
    (fico.folder / "t.toml").write_text("\n".join(lines))
    return "t.toml"


def toml(value: Any) -> str:
    """JSON's texts, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)


def shell(script: str, **fields: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **fields}


def launch(fico: Cli, *tenants: dict[str, Any], **env: str) -> Done:
    return fico("launch", write(fico, *tenants), **env)


WAIT = "echo $$; exec sleep 1000"
# Reports the signals that it gets and lives on, until there is a file `end`; then it is content,
# also where the signal ended the last sleep.
STUBBORN = (
    "trap 'echo int' INT; trap 'echo term' TERM; echo $$; while ! [ -e end ]; do sleep 0.02; done;"
    "true"
)


def start(fico: Cli, *tenants: dict[str, Any]) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """Start tenants that print their process ids first; gives these, by name."""
    process = fico.start("launch", write(fico, *tenants))
    pids = {}
    for _ in tenants:
        name, _, pid = read_line(process).partition("|")
        pids[name.strip()] = int(pid)
    return process, pids


def test_output_comes_with_the_tenants_names(fico: Cli) -> None:
    done = launch(
        fico,
        shell("echo one; echo two; printf rest", name="a"),
        shell("echo bad >&2", name="long"),
    )
    assert done.code == 0
    assert done.out == "a    | one\na    | two\na    | rest\n"
    assert done.err == "long | bad\n"


def test_tenants_get_what_the_file_says(fico: Cli) -> None:
    (fico.folder / "sub").mkdir()
    script = "echo $$; while ! [ -e go ]; do sleep 0.01; done; echo $WHO; pwd; exec sleep 1000"
    first = shell(script, name="a", quota="60%", env={"WHO": "me"}, cwd="sub", priority=2)
    process, pids = start(fico, first, shell(WAIT, name="b", quota="6u", memory="1GiB"))
    tenants = fico.tenants()
    assert {name: tenant["pid"] for name, tenant in tenants.items()} == pids
    assert (tenants["a"]["quota"], tenants["a"]["priority"]) == ("60%", 2)
    assert (tenants["b"]["quota"], tenants["b"]["memory_bytes"]) == ("6u", 1 << 30)
    (fico.folder / "sub" / "go").touch()
    assert read_line(process) == "a | me\n"
    assert read_line(process) == f"a | {fico.folder}/sub\n"


def test_long_output_comes_whole(fico: Cli) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"
    done = launch(fico, shell(script, name="a"), shell(script, name="b"))
    for name in ("a", "b"):
        lines = [line for line in done.out.splitlines() if line.startswith(name)]
        assert lines == [f"{name} | line {i}" for i in range(20000)]


def test_a_line_without_end_is_cut_not_kept(fico: Cli) -> None:
    done = launch(fico, shell("head -c 1000000 /dev/zero | tr '\\0' x", name="a"))
    text = "".join(line.removeprefix("a | ") for line in done.out.splitlines())
    assert text == "x" * 1_000_000


def test_the_exit_code_is_the_first_that_is_not_0(fico: Cli) -> None:
    done = launch(
        fico,
        shell("while ! [ -e go ]; do sleep 0.01; done; exit 4", name="later"),
        shell("exit 3; ", name="first"),
        shell("sleep 0.5; touch go", name="good"),
    )
    assert done.code == 3
    assert "fico: first ended with exit code 3\n" in done.err
    assert "fico: later ended with exit code 4\n" in done.err
    assert "good" not in done.err


def test_a_tenant_killed_by_a_signal(fico: Cli) -> None:
    done = launch(fico, shell("kill -KILL $$", name="a"))
    assert done.code == 128 + signal.SIGKILL
    assert done.err == "fico: a was ended by SIGKILL\n"


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        (shell("true", quota="50%", name="b"), "110%"),
        ({"command": ["no-such-program"], "name": "b"}, "tenant 'b': there is no program"),
        (shell("true", name="b", cwd="absent"), "absent does not exist"),
        (shell("true", name="b", quota="half"), "t.toml:8: tenant 'b': quota"),
    ],
)
def test_if_one_cannot_start_none_does(fico: Cli, bad: dict[str, Any], part: str) -> None:
    done = launch(fico, shell("touch started", name="a", quota="60%"), bad)
    assert done.code in (1, 2)
    assert part in done.line
    assert not (fico.folder / "started").exists()
    assert fico.leftovers() == []


def test_a_program_that_the_kernel_refuses_ends_all(fico: Cli) -> None:
    (fico.folder / "interpreter").write_text("no program")
    (fico.folder / "interpreter").chmod(0o755)
    data = Path("/bin/true").read_bytes()
    loader = b"/lib64/ld-linux-x86-64.so.2\0"
    (fico.folder / "odd").write_bytes(data.replace(loader, b"/etc/hostname".ljust(28, b"\0"), 1))
    (fico.folder / "odd").chmod(0o755)
    done = launch(fico, shell(WAIT, name="a"), {"command": "./odd", "name": "b"})
    assert done.code == 1
    assert "tenant 'b'" in done.err
    assert fico.leftovers() == []


def test_tenants_of_others_are_respected(fico: Cli) -> None:
    fico.tenant("--name", "a", "--quota", "60%")
    done = launch(fico, shell("true", quota="50%", name="b"))
    assert done.code == 1
    assert "a 60%" in done.line
    assert list(fico.tenants()) == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_all(fico: Cli, number: signal.Signals) -> None:
    process, pids = start(fico, shell(WAIT, name="a"), shell(WAIT, name="b"))
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGINT
    assert out == ""
    assert "fico: SIGINT to a, b\n" in err
    assert not any(map(runs, pids.values()))


def test_each_further_signal_goes_one_step_on(fico: Cli) -> None:
    process, pids = start(fico, shell(STUBBORN, name="a"))
    process.send_signal(signal.SIGINT)
    assert read_line(process) == "a | int\n"
    process.send_signal(signal.SIGINT)
    assert read_line(process) == "a | term\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGKILL
    assert not runs(pids["a"])


def test_what_does_not_end_is_ended_in_time(fico: Cli) -> None:
    process, _ = start(fico, shell(STUBBORN, name="a"))
    process.send_signal(signal.SIGINT)
    assert [read_line(process) for _ in range(2)] == ["a | int\n", "a | term\n"]
    (fico.folder / "end").touch()
    assert process.wait(PATIENCE_S) == 0


def test_ctrl_c_at_a_terminal_reaches_a_tenant_once(fico: Cli) -> None:
    """GIVEN a launch at a terminal WHEN Ctrl-C is typed THEN each tenant gets one SIGINT."""
    master, terminal = pty.openpty()
    file = write(fico, shell(STUBBORN, name="a"))
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *FICO, "launch", file],
        env=fico.env, cwd=fico.folder, stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    seen = b""

    def read_until(pattern: bytes) -> None:
        nonlocal seen
        while not re.search(pattern, seen):
            seen += os.read(master, 4096)

    read_until(rb"\| \x1b\[0m\d+\r\n")
    os.write(master, b"\x03")
    read_until(rb"\| \x1b\[0mint\r\n")
    (fico.folder / "end").touch()
    assert process.wait(PATIENCE_S) == 0
    assert len(re.findall(rb"\| \x1b\[0mint\r\n", seen)) == 1
    os.close(master)


def test_a_killed_launcher_leaves_its_tenants_and_their_output(fico: Cli) -> None:
    """GIVEN two tenants WHEN the launcher is killed and nobody reads THEN they print and go on."""
    script = (
        "echo $$; while ! [ -e go ]; do sleep 0.01; done;"
        "i=0; while [ $i -lt 5000 ]; do echo x$i || exit 9; i=$((i+1)); done;"
        "touch done-$0; exec sleep 1000"
    )
    tenants = [{"command": ["sh", "-c", script, name], "name": name} for name in ("a", "b")]
    process, pids = start(fico, *tenants)
    process.kill()
    process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    (fico.folder / "go").touch()
    for name in ("a", "b"):
        until((fico.folder / f"done-{name}").exists, f"{name} has printed it all")
        assert runs(pids[name])
    assert sorted(fico.tenants()) == ["a", "b"]
    assert fico("down", "--force").code == 0
    assert not any(map(runs, pids.values()))
    assert fico.leftovers() == []


@pytest.mark.parametrize("delay_ms", range(40, 240, 10))
def test_a_launcher_killed_at_any_time_leaves_whole_tenants(fico: Cli, delay_ms: int) -> None:
    file = write(fico, *(shell("exec sleep 1000", name=f"t{i}") for i in range(4)))
    process = fico.start("launch", file)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(delay_ms / 1000)
    process.kill()
    process.wait()

    def settled() -> bool:
        pids = [tenant["pid"] for session in fico.status() for tenant in session["tenants"]]
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids if runs(pid)]
        return all(command.startswith(b"sleep\0") for command in commands)

    until(settled, "no process is left at its gate")
    assert fico("run", "--", "true").code == 0
    assert fico("down", "--force").code == 0
    assert fico.leftovers() == []


def test_a_pump_ends_with_its_source_only(tmp_path: Path) -> None:
    source, writer = os.pipe()
    target = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    pid = fork_pump(b"p ", {source: target}, new_lock())
    os.close(source)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    os.write(writer, b"still\nthere")
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "out").read_bytes() == b"p still\np there\n"
