"""Where profiles are found: those that ship with Fico, and a folder or file of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fico.runtime.errors import UsageError

SHIPPED = Path(__file__).parents[1] / "profiles"
SUFFIX = ".fico"

_MAKE = "fico profile -o"
_OF_PROGRAMS = "~/.local/share/fico/profiles"


def profile_of_program(name: str) -> Path | None:
    """The file NAME.fico in the first folder that has it.

    Folders are those of FICO_PROFILE_PATH, separated by colons, else ~/.local/share/fico/profiles.
    """
    folders = os.environ.get("FICO_PROFILE_PATH", _OF_PROGRAMS)
    files = (
        Path(os.path.expanduser(folder), f"{name}{SUFFIX}")
        for folder in folders.split(":")
        if folder
    )
    return next((file for file in files if file.is_file()), None)


def available_profiles(folders: Iterable[Path] = ()) -> dict[str, Path]:
    """Profiles by name, sorted; those of the given folders go before those that ship."""
    found: dict[str, Path] = {}
    for folder in (SHIPPED, *reversed(list(folders))):
        found |= {path.stem: path for path in folder.glob(f"*{SUFFIX}")}
    return dict(sorted(found.items()))


def find_profile(name: str, folders: Iterable[Path] = ()) -> Path:
    """The file of a profile, by its name (`vgg16-bs8-graph`) or by its path.

    UsageError that lists what there is.
    """
    if name.endswith(SUFFIX):
        if not Path(name).is_file():
            raise UsageError(f"there is no file {name}", f"make it with: {_MAKE} {name} -- CMD")
        return Path(name)
    folders = list(folders)
    found = available_profiles(folders)
    if name in found:
        return found[name]
    where = " or ".join(map(str, [*folders, "those that ship"]))
    there = f"there are {', '.join(found)}" if found else "there are none"
    raise UsageError(
        f"there is no profile of {name} in {where} ({there})",
        f"make it with: {_MAKE} {name}{SUFFIX} -- CMD",
    )
