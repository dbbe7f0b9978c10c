"""Commands that can't be tenants are refused before anything starts."""

import os
import struct
from pathlib import Path

import pytest

from fico.runtime.errors import FicoError, UsageError
from fico.runtime.program import check_program


def executable(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


def elf(bits: int, machine: int, interpreter: bytes | None) -> bytes:
    """The head of an ELF file, as much as a loader looks at."""
    loader = interpreter + b"\0" if interpreter is not None else b""
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    kind = 3 if interpreter is not None else 1
    program_header = struct.pack("<IIQQQQQQ", kind, 4, 120, 0, 0, len(loader), len(loader), 1)
    return ident + header + program_header + loader


def own_machine() -> int:
    with open("/proc/self/exe", "rb") as file:
        return int.from_bytes(file.read(20)[18:], "little")


def refusal(*command: str, folder: str | None = None) -> FicoError:
    with pytest.raises(FicoError) as raised:
        check_program(command, os.environ, folder)
    return raised.value


def test_a_program_in_path_is_found_with_its_loader() -> None:
    program = check_program(["sh", "-c", "true"], os.environ)
    assert program.path.endswith("/sh")
    assert "ld-" in program.loader


def test_no_command_is_wrong_usage() -> None:
    assert isinstance(refusal(), UsageError)


def test_unknown_name() -> None:
    assert "no program 'no-such-thing' in PATH" in str(refusal("no-such-thing"))


def test_unknown_path(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(str(tmp_path / "absent")))


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in str(refusal(str(tmp_path)))


def test_not_executable(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert "chmod +x" in refusal(str(tmp_path / "script")).remedy


def test_neither_binary_nor_script(tmp_path: Path) -> None:
    assert "neither a binary" in str(refusal(executable(tmp_path / "text", b"echo hello\n")))


def test_static_binary(tmp_path: Path) -> None:
    path = executable(tmp_path / "static", elf(64, own_machine(), None))
    assert "statically linked" in str(refusal(path))


def test_32_bit_binary(tmp_path: Path) -> None:
    path = executable(tmp_path / "small", elf(32, 3, b"/lib/ld-linux.so.2"))
    assert "32-bit" in str(refusal(path))


def test_another_processor(tmp_path: Path) -> None:
    path = executable(tmp_path / "foreign", elf(64, 0xFFFE, b"/lib/ld.so"))
    assert "another processor" in str(refusal(path))


def test_a_cut_off_binary(tmp_path: Path) -> None:
    assert refusal(executable(tmp_path / "cut", b"\x7fELF\x02"))


def test_a_scripts_interpreter_is_followed(tmp_path: Path) -> None:
    static = executable(tmp_path / "static", elf(64, own_machine(), None))
    script = executable(tmp_path / "script", f"#!{static} -x\n".encode())
    assert static in str(refusal(script))


def test_an_interpreter_by_env_is_followed(tmp_path: Path) -> None:
    script = executable(tmp_path / "script", b"#!/usr/bin/env -S sh -e\n")
    program = check_program([script], os.environ)
    assert program.path == script
    assert program.binary.endswith("/sh")


def test_an_absent_interpreter_is_named(tmp_path: Path) -> None:
    script = executable(tmp_path / "script", b"#!/no/such/interpreter\n")
    assert "/no/such/interpreter" in str(refusal(script))


def test_interpreters_without_end(tmp_path: Path) -> None:
    script = tmp_path / "script"
    executable(script, f"#!{script}\n".encode())
    assert "without end" in str(refusal(str(script)))


def test_a_relative_path_is_relative_to_the_tenants_folder(tmp_path: Path) -> None:
    executable(tmp_path / "script", b"#!/bin/sh\n")
    assert check_program(["./script"], os.environ, str(tmp_path)).path == "./script"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file to another user")
def test_a_program_that_gains_rights_ignores_preloads(tmp_path: Path) -> None:
    path = executable(tmp_path / "setuid", Path("/bin/true").read_bytes())
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o4755)
    assert "gains rights" in str(refusal(path))
