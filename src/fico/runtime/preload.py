"""Whether libfico.so can be preloaded, proven by doing it.

A loader that can't preload a library says so on standard error and goes on without it: the
program would run outside its quota. So it is tried out before a tenant starts.
"""

import os
import subprocess
from collections.abc import Mapping

from fico import _native
from fico.runtime.errors import FicoError
from fico.runtime.program import Program, check_program

_REINSTALL = "reinstall fico, and see 'fico doctor'"


def with_preload(present: str, library: str) -> str:
    """LD_PRELOAD with the library first, once."""
    others = [entry for entry in present.replace(":", " ").split() if entry != library]
    return ":".join([library, *others])


def check_preload(environment: Mapping[str, str], program: Program | None = None) -> None:
    """FicoError if the library can't be preloaded under this environment, into this program."""
    library = _native.library_path()
    if not os.access(library, os.R_OK):
        raise FicoError(f"the library {library} is not there", _REINSTALL)
    if " " in library or ":" in library:
        raise FicoError(
            f"the library cannot be preloaded from {library}: the path has a space or a colon",
            "install fico into a folder without them",
        )
    environment = {**environment, "LD_PRELOAD": library}
    # Without a tenant to be, the library stays passive: only loading it is tried.
    environment.pop("FICO_TENANT", None)
    helper = next((path for path in ("/bin/true", "/usr/bin/true") if os.path.exists(path)), None)
    if helper is None:
        return
    code, complaint = _run([helper], environment)
    if "cannot be preloaded" in complaint:
        reason = complaint.split("cannot be preloaded", 1)[1].strip(" ():.\n") or "unknown reason"
        raise FicoError(f"{library} cannot be preloaded: {reason}", _REINSTALL)
    if code != 0:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise FicoError(f"a program with {library} preloaded ends with {how}", _REINSTALL)
    if program is not None and program.loader != check_program([helper], os.environ).loader:
        # The program has another C library: ask its own loader, without running the program.
        code, complaint = _run([program.loader, "--list", program.binary], environment)
        if code != 0 or complaint:
            raise FicoError(
                f"the loader of {program.binary}, {program.loader}, cannot load {library}",
                "use a build of the program for the C library that fico was built for",
            )


def _run(command: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stderr.decode(errors="replace")
