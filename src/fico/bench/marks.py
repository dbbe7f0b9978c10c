"""When each run of a suite took place, so that timelines of its servers can be told apart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fico.runtime.errors import FicoError

MARKS = "marks.jsonl"


@dataclass(frozen=True, slots=True)
class Mark:
    """A run, or a round of it: its window, without what warms it up. All times are of
    CLOCK_MONOTONIC, as timelines have them."""

    cell: str
    """The cell's name."""
    policy: str
    round: int
    """From 1."""
    models: dict[str, str]
    """Model of each tenant, by the tenant's name."""
    begin_ns: int
    end_ns: int
    served: dict[str, list[list[int]]] = field(default_factory=dict)
    """Of each tenant the requests that it ended: when each came, and when it had been answered."""


def add_mark(folder: Path, mark: Mark) -> None:
    """Write one more. FicoError."""
    try:
        with (folder / MARKS).open("a") as file:
            file.write(json.dumps(asdict(mark)) + "\n")
    except OSError as error:
        raise FicoError(f"{folder / MARKS} cannot be written: {error.strerror}") from None


def read_marks(folder: Path) -> list[Mark]:
    """All that were written, none if there is no file. FicoError names the line that is damaged."""
    path = folder / MARKS
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise FicoError(f"{path} cannot be read: {error}") from None
    marks = []
    for number, line in enumerate(lines, 1):
        try:
            found = Mark(**json.loads(line))
            if not (found.begin_ns <= found.end_ns and isinstance(found.models, dict)):
                raise ValueError
            if any(came_ns > end_ns for each in found.served.values() for came_ns, end_ns in each):
                raise ValueError
        except (ValueError, TypeError, AttributeError):
            raise FicoError(
                f"{path}:{number} is damaged", "delete the line; without it the rest can be read"
            ) from None
        marks.append(found)
    return marks
