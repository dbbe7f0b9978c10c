"""Recorded arrivals: CSV files with a TIMESTAMP column, as Azure publishes them.

`TIMESTAMP,ContextTokens,GeneratedTokens`; columns beside TIMESTAMP are not used: what a request
does is the model's. Timestamps are ISO 8601 with up to seven digits after the second.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from fico.bench.arrivals import Times
from fico.runtime.errors import UsageError

_COLUMN = "TIMESTAMP"
_TIMESTAMP = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<zone>[+-]\d\d:\d\d)?"
)


@lru_cache(maxsize=8)
def read_recording(path: Path) -> Times:
    """Arrivals in microseconds from the first. UsageError names the file and the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            times = _read(path, csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"{path} cannot be read: {reason}", "give a CSV file") from None
    if len(times) < 2 or times[0] == times[-1]:
        raise UsageError(
            f"{path}: {len(times)} arrivals at one time are no recording",
            "give at least 2 at different times",
        )
    times -= times[0]
    times.flags.writeable = False
    return times


def _read(path: Path, rows: Iterator[list[str]]) -> Times:
    header = next(rows, [])
    if _COLUMN not in header:
        raise UsageError(
            f"{path}:1: there is no column {_COLUMN}", "the first line names the columns"
        )
    column = header.index(_COLUMN)
    times: list[float] = []
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        text = row[column] if column < len(row) else ""
        try:
            time_us = _parse_us(text)
        except ValueError:
            raise UsageError(
                f"{path}:{line}: timestamp {text!r} is not understood",
                "write it as 2023-11-16 18:17:03.9799600",
            ) from None
        if times and time_us < times[-1]:
            raise UsageError(
                f"{path}:{line}: {text} is before the line above", "sort the file by time"
            )
        times.append(time_us)
    return np.array(times)


def _parse_us(text: str) -> float:
    """Microseconds since 1970; what is after the sixth digit of a second is kept."""
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    moment = datetime.fromisoformat(match["second"] + (match["zone"] or "+00:00"))
    return moment.timestamp() * 1e6 + float(match["fraction"] or 0) * 1e6
