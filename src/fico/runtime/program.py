"""Whether a command can run as a tenant, found out before anything is started for it."""

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fico.runtime.errors import FicoError, UsageError

_MOST_INTERPRETERS = 5  # as the kernel follows #! lines
_ELF_CLASS_64 = 2
_PT_INTERP = 3


@dataclass(frozen=True, slots=True)
class Program:
    """A command that the library can be preloaded into."""

    path: str
    """What to execute, relative to its working directory if it was given so."""
    binary: str
    """The binary that runs in the end: the same, or the interpreter of a script."""
    loader: str
    """The dynamic loader of that binary."""


def check_program(
    command: Sequence[str], environment: Mapping[str, str], folder: str | None = None
) -> Program:
    """Find the command's executable, as a process with this environment and folder would.

    FicoError if it can't run or the library can't get into it.
    """
    if not command or not command[0]:
        raise UsageError("there is no command to run", "write it after --")
    path = _find(command[0], environment)
    # What is relative is so to the folder that the program starts in.
    seen_from_here = os.path.join(folder or "", path)
    _check_executable(seen_from_here)
    return Program(path, *_binary_and_loader(seen_from_here, environment, 0))


def _find(name: str, environment: Mapping[str, str]) -> str:
    if "/" in name:
        return name
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FicoError(f"there is no program {name!r} in PATH", "check its name or give its path")
    return found


def _check_executable(path: str) -> None:
    if not os.path.exists(path):
        raise FicoError(f"{path} does not exist", "check the path of the command")
    if os.path.isdir(path):
        raise FicoError(f"{path} is a folder", "give the path of a program")
    if not os.access(path, os.X_OK):
        raise FicoError(
            f"{path} is not executable", "chmod +x it, or put its interpreter before it"
        )


def _binary_and_loader(path: str, environment: Mapping[str, str], depth: int) -> tuple[str, str]:
    if depth > _MOST_INTERPRETERS:
        raise FicoError(f"{path} is run by interpreters of interpreters without end")
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            if head.startswith(b"#!"):
                interpreter = _interpreter(path, head, environment)
                return _binary_and_loader(interpreter, environment, depth + 1)
            if not head.startswith(b"\x7fELF"):
                raise FicoError(
                    f"{path} is neither a binary nor a script with a #! line",
                    "put its interpreter before it",
                )
            loader = _elf_loader(path, head)
        _check_privileges(path)
    except OSError as error:
        raise FicoError(f"{path} cannot be read: {error.strerror}") from None
    return path, loader


def _interpreter(path: str, head: bytes, environment: Mapping[str, str]) -> str:
    words = os.fsdecode(head[2:].split(b"\n", 1)[0]).split()
    if not words:
        raise FicoError(f"{path} has an empty #! line")
    if PurePath(words[0]).name == "env":
        wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        if wanted:
            words = [_find(wanted[0], environment)]
    if not os.access(words[0], os.X_OK):
        raise FicoError(f"{path} wants the interpreter {words[0]}, which is not there")
    return words[0]


def _elf_loader(path: str, head: bytes) -> str:
    """The PT_INTERP of an ELF file, from its first page (where linkers put it)."""
    if head[4] != _ELF_CLASS_64:
        raise FicoError(
            f"{path} is a 32-bit program, which cannot load the 64-bit library",
            "use its 64-bit build",
        )
    own = _own_machine()
    if head[18:20] != own:
        raise FicoError(f"{path} is built for another processor")
    table_at = int.from_bytes(head[32:40], "little")
    entry_size, entries = (int.from_bytes(head[at : at + 2], "little") for at in (54, 56))
    for entry in range(entries):
        at = table_at + entry * entry_size
        if int.from_bytes(head[at : at + 4], "little") == _PT_INTERP:
            begin, size = (int.from_bytes(head[at + o : at + o + 8], "little") for o in (8, 32))
            if begin + size > len(head):
                with open(path, "rb") as file:
                    file.seek(begin)
                    return os.fsdecode(file.read(size).rstrip(b"\0"))
            return os.fsdecode(head[begin : begin + size].rstrip(b"\0"))
    raise FicoError(
        f"{path} is statically linked: nothing can be preloaded into it",
        "link it dynamically against the C library",
    )


def _own_machine() -> bytes:
    with open("/proc/self/exe", "rb") as file:
        return file.read(20)[18:20]


def _check_privileges(path: str) -> None:
    """Programs that gain rights when they start ignore LD_PRELOAD."""
    info = os.stat(path)
    gains = bool(info.st_mode & stat.S_ISUID) and info.st_uid != os.geteuid()
    gains |= bool(info.st_mode & stat.S_ISGID) and info.st_gid != os.getegid()
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):  # no such attribute, which is the rule
            gains |= bool(os.getxattr(path, "security.capability"))
    if gains:
        raise FicoError(
            f"{path} gains rights when it starts (setuid or capabilities) and ignores preloads",
            "use a copy without them",
        )
