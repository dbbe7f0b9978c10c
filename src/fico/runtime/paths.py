"""Where sessions live. Nothing here has to be deleted by hand, ever."""

import os
import stat
from pathlib import Path

from fico.runtime.errors import FicoError


def runtime_dir(create: bool = True) -> Path:
    """The user's own folder for sessions: $FICO_RUNTIME_DIR or /tmp/fico-<uid>, mode 0700.

    FicoError if it belongs to another user, is no folder, or cannot be made.
    """
    given = os.environ.get("FICO_RUNTIME_DIR")
    path = Path(given).absolute() if given else Path(f"/tmp/fico-{os.getuid()}")
    elsewhere = "set FICO_RUNTIME_DIR to a folder of your own"
    try:
        if create:
            path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except FileExistsError:
        raise FicoError(f"the runtime folder {path} is a file", elsewhere) from None
    except FileNotFoundError:
        if create:
            raise FicoError(
                f"the runtime folder {path} cannot be made: {path.parent} does not exist",
                f"make it, or {elsewhere}",
            ) from None
        return path
    except OSError as error:
        raise FicoError(
            f"the runtime folder {path} cannot be used: {error.strerror}", elsewhere
        ) from None
    if not stat.S_ISDIR(info.st_mode):
        raise FicoError(f"the runtime folder {path} is a link or a file", elsewhere)
    if info.st_uid != os.getuid():
        raise FicoError(f"the runtime folder {path} belongs to user {info.st_uid}", elsewhere)
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise FicoError(
            f"the runtime folder {path} is open to other users", f"chmod 700 it, or {elsewhere}"
        )
    return path


def session_dir(key: str) -> Path:
    """The folder of one GPU's session; may not exist."""
    return runtime_dir(create=False) / key


def shm_dir() -> Path:
    """The folder for arenas: $FICO_SHM_DIR or /dev/shm."""
    return Path(os.environ.get("FICO_SHM_DIR") or "/dev/shm").absolute()


def arena_path(key: str) -> Path:
    """The arena of one GPU's session of this user."""
    return shm_dir() / f"fico-{os.getuid()}-{key}"
