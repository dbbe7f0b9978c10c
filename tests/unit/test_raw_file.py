"""A raw measurement comes back as it was saved, also from a file of an older version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fico.profiling import raw_file
from fico.profiling.records import Measurement, Pace, Window
from fico.runtime.errors import FicoError
from helpers.raw_records import closed_loop, measurement, network


@pytest.fixture(scope="module")
def measured() -> Measurement:
    made = measurement(closed_loop(network(3), 5, graph=True), units=(8, 16))
    paces = tuple(Pace(1e3 + number, 9e2) for number in range(len(made.windows)))
    return replace(made, paces=paces)


def assert_same(one: Window, other: Window) -> None:
    assert (one.units, one.neighbour) == (other.units, other.neighbour)
    for field in one.operations.dtype.names or ():
        values, wanted = one.operations[field], other.operations[field]
        if field == "name":
            names = [one.names[index] for index in values]
            assert names == [other.names[index] for index in wanted]
        elif field in ("start_ns", "end_ns", "correlation"):
            # Each window has its own beginning.
            np.testing.assert_array_equal(np.diff(values), np.diff(wanted), err_msg=field)
        else:
            np.testing.assert_array_equal(values, wanted, err_msg=field)


def test_it_comes_back(measured: Measurement, tmp_path: Path) -> None:
    raw_file.save(measured, tmp_path / "raw")
    found = raw_file.load(tmp_path / "raw")
    assert (found.neighbours, found.paces) == (measured.neighbours, measured.paces)
    for one, other in zip(found.windows, measured.windows, strict=True):
        assert_same(one, other)


def rewritten(path: Path, **changes: Any) -> None:
    """Change what the file says about itself."""
    with np.load(path) as archive:
        arrays = dict(archive)
    about = json.loads(arrays["about"].tobytes()) | changes
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def test_an_older_file_is_read(measured: Measurement, tmp_path: Path) -> None:
    """It does not know whether a neighbour writes."""
    path = tmp_path / "raw"
    reading = {
        neighbour: rates for neighbour, rates in measured.neighbours.items() if not neighbour.writes
    }
    raw_file.save(replace(measured, neighbours=reading), path)
    listed = [
        [str(neighbour.resource), neighbour.strength, rates.alone, rates.beside]
        for neighbour, rates in reading.items()
    ]
    rewritten(path, version=1, neighbours=listed)
    found = raw_file.load(path)
    assert found.neighbours == reading
    assert len(found.windows) == len(measured.windows)


def test_windows_of_whole_graphs_are_passed_over(measured: Measurement, tmp_path: Path) -> None:
    """GIVEN a file that has such windows behind the others."""
    path = tmp_path / "raw"
    wholes = []
    for window in measured.windows[:2]:
        launches = window.operations[::20].copy()
        launches["kind"] = 3
        wholes.append(replace(window, operations=launches))
    raw_file.save(replace(measured, windows=(*measured.windows, *wholes)), path)
    rewritten(path, of_nodes=len(measured.windows))
    found = raw_file.load(path)
    for one, other in zip(found.windows, measured.windows, strict=True):
        assert_same(one, other)


def test_a_newer_file_is_refused(measured: Measurement, tmp_path: Path) -> None:
    raw_file.save(measured, tmp_path / "raw")
    rewritten(tmp_path / "raw", version=3)
    with pytest.raises(FicoError, match="has version 3, this fico reads up to 2"):
        raw_file.load(tmp_path / "raw")
