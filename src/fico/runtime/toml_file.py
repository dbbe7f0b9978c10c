"""TOML files that people write: read into a pydantic model, errors with the file and the line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fico.runtime.errors import UsageError

Content = TypeVar("Content", bound=BaseModel)


def read_toml(path: Path, model: type[Content], what: str) -> Content:
    """Read and check a file. UsageError names the file, the line, the table and the field.

    `what` the file is, for people: "a launch file".
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{path} cannot be read: {reason}", f"give {what}") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UsageError(_explain(path, text, content, model, error)) from None


def line_of(path: Path, table: str, index: int | None, field: str = "") -> str:
    """`file:line` of a field of one of several tables, of the table if it has no such field.

    No table (and index None): of a field or table of the file itself.
    """
    line = _line_of(path.read_text(), table, index, field)
    return f"{path}:{line}" if line else str(path)


def _explain(
    path: Path, text: str, content: dict[str, Any], model: type[BaseModel], error: ValidationError
) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    table, index, where = "", None, ""
    field = first["loc"]
    if len(field) >= 2 and isinstance(field[1], int):
        table, index = str(field[0]), field[1]
        field = field[2:]
        entry = content[table][index]
        name = entry.get("name") if isinstance(entry, dict) else None
        where = f"{table} {name!r}" if isinstance(name, str) else f"{table} {index + 1}"
    line = _line_of(text, table, index, str(field[0]) if field else "")
    parts = [f"{path}:{line}" if line else str(path), where, ".".join(map(str, field))]
    reason = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "missing":
            reason = "is missing"
        case "extra_forbidden":
            known = model if index is None else _entry_model(model, table)
            reason = f"is not known here, only {', '.join(known.model_fields)}"
    return ": ".join(part for part in parts if part) + f": {reason}"


def _entry_model(model: type[BaseModel], table: str) -> type[BaseModel]:
    (entry,) = get_args(model.model_fields[table].annotation)
    assert isinstance(entry, type)
    assert issubclass(entry, BaseModel)
    return entry


def _line_of(text: str, table: str, index: int | None, field: str) -> int | None:
    """The line of a field, of its table if it has none of its own, or None.

    No table (and index None) is the part before the first one.
    """
    counts: dict[str, int] = {}
    current: tuple[str, int | None] = ("", None)
    found = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[\s*([\w-]+)\s*\]\]", line):
            name = header[1]
            current = (name, counts.setdefault(name, 0))
            counts[name] += 1
            if current == (table, index):
                found = number
        elif header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            current = (header[1], None)
            if not table and field == header[1]:
                return number
        here = current == (table, index)
        if here and field and re.match(rf"\s*(\[\w+\.)?{re.escape(field)}\b", line):
            return number
    return found
