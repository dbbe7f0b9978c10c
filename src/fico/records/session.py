"""The file in a session's folder: which GPU the session is for."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fico.records.gpu import Gpu

VERSION = 1


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session that was started; its arena tells whether it still is."""

    gpu: Gpu
    version: int = VERSION

    def save(self, path: Path) -> None:
        """Replace the file in one step, so that a reader sees the old record or the new one."""
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(draft, path)

    @classmethod
    def load(cls, path: Path) -> "SessionRecord | None":
        """Read the file; None where there is none or it is of another version."""
        try:
            fields = json.loads(path.read_text())
            if fields["version"] != VERSION:
                return None
            return cls(Gpu.from_json(fields["gpu"]))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
