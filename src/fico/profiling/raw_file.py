"""Everything that was measured of a program in a file, to be analysed again, elsewhere or later.

A numpy archive. Operations that are alike (name, grid, block, …) are listed once; of each operation
the archive keeps which of these it is, its times and what issued it.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fico.profiling.records import RAW, Measurement, NeighbourRates, Pace, Window
from fico.records.gpu import Gpu
from fico.records.profile import Neighbour, Resource
from fico.runtime.errors import FicoError

VERSION = 2
_READ = (1, VERSION)
"""The first version has no neighbours that write. Early files of the second have more windows than
`of_nodes` says, in which graphs were recorded as a whole: nothing uses these."""
_OWN = ("start_ns", "end_ns", "graph_id", "graph_node", "correlation", "stream")
"""What each operation has for itself; the other fields are those of its kind."""
_ALIKE = [name for name in RAW.names or () if name not in _OWN]


def save(measurement: Measurement, path: Path) -> None:
    """Write the file. OSError if it can't be written."""
    names = sorted({name for window in measurement.windows for name in window.names})
    place = {name: index for index, name in enumerate(names)}
    operations = []
    for window in measurement.windows:
        rows = window.operations.copy()
        places = np.array([place[name] for name in window.names], dtype="u4")
        rows["name"] = places[rows["name"]] if len(places) else 0
        operations.append(rows)
    alike, which = _factored(operations)
    arrays: dict[str, NDArray[Any]] = {"alike": alike}
    for number, (rows, kinds) in enumerate(zip(operations, which, strict=True)):
        # Times begin at 1: 0 is where CUPTI knew none.
        first_ns = np.maximum(rows["start_ns"].min(), 1) - 1 if len(rows) else np.uint64(0)
        first_call = rows["correlation"].min() if len(rows) else np.uint32(0)
        nodes, node_of = np.unique(rows["graph_node"], return_inverse=True)
        arrays |= {
            f"kind{number}": kinds,
            f"start{number}": rows["start_ns"] - first_ns,
            f"took{number}": (rows["end_ns"] - rows["start_ns"]).astype("u4"),
            f"graph{number}": rows["graph_id"],
            f"call{number}": rows["correlation"] - first_call,
            f"node{number}": node_of.astype("u4"),
            f"nodes{number}": nodes,
            f"stream{number}": rows["stream"],
        }
    about = {
        "version": VERSION,
        "gpu": asdict(measurement.gpu),
        "cuda": measurement.cuda,
        "program": measurement.program,
        "arguments": measurement.arguments,
        "created": measurement.created,
        "names": names,
        "windows": [
            {"units": window.units, "neighbour": _listed(window.neighbour)}
            for window in measurement.windows
        ],
        "paces": [[pace.calls_per_s, pace.traced_calls_per_s] for pace in measurement.paces],
        "neighbours": [
            [*_listed(neighbour), rates.alone, rates.beside]
            for neighbour, rates in measurement.neighbours.items()
        ],
    }
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load(path: Path) -> Measurement:
    """Read the file. FicoError if it is damaged or of another version; OSError."""
    try:
        with np.load(path) as archive:
            about = json.loads(archive["about"].tobytes())
            if about["version"] not in _READ:
                raise FicoError(
                    f"{path} has version {about['version']}, this fico reads up to {VERSION}",
                    "measure the program again",
                )
            return _measurement(about, archive)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise FicoError(f"{path} is damaged or no raw measurement", "measure again") from None


def _measurement(about: dict[str, Any], archive: Any) -> Measurement:
    names = tuple(about["names"])
    alike = archive["alike"]
    windows = []
    for number, window in enumerate(about["windows"][: about.get("of_nodes")]):
        kinds = archive[f"kind{number}"]
        rows = np.zeros(len(kinds), RAW)
        for name in _ALIKE:
            rows[name] = alike[name][kinds]
        rows["start_ns"] = archive[f"start{number}"]
        rows["end_ns"] = rows["start_ns"] + archive[f"took{number}"]
        rows["graph_id"] = archive[f"graph{number}"]
        rows["graph_node"] = archive[f"nodes{number}"][archive[f"node{number}"]]
        rows["correlation"] = archive[f"call{number}"]
        rows["stream"] = archive[f"stream{number}"]
        windows.append(Window(rows, names, window["units"], _neighbour(window["neighbour"])))
    return Measurement(
        gpu=Gpu.from_json(about["gpu"]),
        cuda=about["cuda"],
        program=about["program"],
        arguments=tuple(about["arguments"]),
        created=about["created"],
        windows=tuple(windows),
        neighbours={
            neighbour: NeighbourRates(alone, beside)
            for *listed, alone, beside in about["neighbours"]
            if (neighbour := _neighbour(listed)) is not None
        },
        paces=tuple(Pace(*pace) for pace in about["paces"]),
    )


def _factored(operations: list[NDArray[np.void]]) -> tuple[NDArray[np.void], list[NDArray[Any]]]:
    """The different kinds of operation, and for each window which of them its operations are."""
    kept = np.dtype([(name, RAW[name].base, RAW[name].shape) for name in _ALIKE])
    together = np.zeros(sum(map(len, operations)), kept)
    for name in _ALIKE:
        together[name] = np.concatenate([rows[name] for rows in operations])
    as_bytes = together.view(np.dtype((np.void, kept.itemsize)))
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    ends = np.cumsum([len(rows) for rows in operations])[:-1]
    return together[first], [part.astype("u2") for part in np.split(which.ravel(), ends)]


def _listed(neighbour: Neighbour | None) -> list[Any]:
    if neighbour is None:
        return []
    return [str(neighbour.resource), neighbour.strength, neighbour.writes]


def _neighbour(listed: list[Any]) -> Neighbour | None:
    if not listed:
        return None
    resource, strength, *writes = listed
    return Neighbour(Resource(resource), float(strength), writes=any(writes))
