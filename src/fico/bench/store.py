"""The folder of a suite's results, in which every run is a file of its own.

    run.json            what was run, and when: device, GPU, suite, seed
    capacity.json       requests per second of each tenant in closed loop under MPS
    runs/*.parquet      a cell under a policy each: one row a request, the rest in the metadata
    tenants.parquet     one row a tenant of a run: its figures
    summary.json        one object a run, and the headline

Files are replaced in one step, so that whatever is there is whole: a suite that was stopped or
killed goes on from there.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fico.bench.cell import Cell, file_name
from fico.bench.device import Outcome, Served
from fico.bench.policy import Policy, parse_policy
from fico.runtime.errors import FicoError, UsageError

VERSION = 1
_METADATA = b"fico"


@dataclass(frozen=True, slots=True)
class Header:
    """What all runs of a folder have in common."""

    device: str
    gpu: str
    suite: str
    seed: int
    requests: int
    rounds: int = 1
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Run:
    """A cell that was run under a policy."""

    cell: Cell
    policy: Policy
    window_us: float
    outcome: Outcome


class Store:
    """A folder of results, for one suite on one device."""

    def __init__(self, folder: Path, header: Header) -> None:
        """Open a folder, or make it. UsageError if it holds something else."""
        self.folder = folder
        self.header = header
        try:
            (folder / "runs").mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{folder} is not a folder", "choose another --out") from None
        self._lock = _locked(folder)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        for draft in self.folder.rglob(".*.draft"):
            draft.unlink()
        path = self.folder / "run.json"
        if path.exists():
            _check_same(self.folder, read_header(self.folder), self.header)
        else:
            write_json(path, asdict(self.header) | _provenance())

    def close(self) -> None:
        """Let others write to the folder."""
        os.close(self._lock)

    def path(self, cell: Cell, policy: Policy) -> Path:
        """Where a run is kept."""
        return self.folder / "runs" / f"{cell.name}.{file_name(str(policy))}.parquet"

    def capacity(self, cell: Cell) -> list[float] | None:
        """Requests per second of each tenant in closed loop under MPS, if it is known."""
        return self._capacities().get(_models(cell))

    def add_capacity(self, cell: Cell, rates_rps: list[float]) -> None:
        """Keep what `capacity` gives."""
        capacities = self._capacities() | {_models(cell): rates_rps}
        write_json(self.folder / "capacity.json", dict(sorted(capacities.items())))

    def take_capacities(self, folder: Path) -> None:
        """Take those of another folder, so that windows and arrivals are the same as there.

        UsageError if that has no results, or if other capacities are in use here.
        """
        read_header(folder)
        theirs, ours = _read_capacities(folder), self._capacities()
        if any(theirs.get(models, rates) != rates for models, rates in ours.items()):
            raise UsageError(
                f"{self.folder} has runs at other capacities than {folder}", "choose another --out"
            )
        write_json(self.folder / "capacity.json", dict(sorted((theirs | ours).items())))

    def take_runs(self, folder: Path) -> None:
        """Take all runs of another folder. UsageError if that is of other runs or capacities."""
        _check_same(folder, read_header(folder), self.header)
        self.take_capacities(folder)
        for path in sorted((folder / "runs").glob("*.parquet")):
            _replace(self.folder / "runs" / path.name, functools.partial(shutil.copyfile, path))

    def _capacities(self) -> dict[str, list[float]]:
        return _read_capacities(self.folder)

    def runs(self, cells: tuple[Cell, ...]) -> Iterator[Run]:
        """The runs that are there, in the order of the cells and then of the policies' names."""
        names = sorted(path.name for path in (self.folder / "runs").glob("*.parquet"))
        for cell in cells:
            for name in names:
                if name.startswith(f"{cell.name}."):
                    yield load_run(self.folder / "runs" / name)


def save_run(path: Path, run: Run) -> None:
    """Write a run, in one step."""
    served = run.outcome.tenants
    counts = [len(tenant.end_us) for tenant in served]
    table = pa.table(
        {
            "tenant": pa.array(np.repeat(np.arange(len(served), dtype=np.int16), counts)),
            "arrival_us": pa.array(np.concatenate([tenant.arrival_us for tenant in served])),
            "end_us": pa.array(np.concatenate([tenant.end_us for tenant in served])),
        }
    )
    facts = {
        "version": VERSION,
        "cell": run.cell.to_json(),
        "policy": str(run.policy),
        "window_us": run.window_us,
        "sm_us": [tenant.sm_us for tenant in served],
        "problems": run.outcome.problems,
        "clocks_mhz": run.outcome.clocks_mhz,
        "counters": dict(run.outcome.counters),
    }
    table = table.replace_schema_metadata({_METADATA: json.dumps(facts).encode()})
    write_parquet(path, table)


def load_run(path: Path) -> Run:
    """Read a run. FicoError names a file that is damaged or of another version."""
    try:
        table = pq.read_table(path)
        facts: dict[str, Any] = json.loads(table.schema.metadata[_METADATA])
        if facts["version"] != VERSION:
            raise ValueError
        cell = Cell.from_json(facts["cell"])
        tenant = table["tenant"].to_numpy()
        arrival_us, end_us = table["arrival_us"].to_numpy(), table["end_us"].to_numpy()
        outcome = Outcome(
            tuple(
                Served(arrival_us[tenant == number], end_us[tenant == number], sm_us)
                for number, sm_us in enumerate(facts["sm_us"])
            ),
            tuple(facts["problems"]),
            None if facts.get("clocks_mhz") is None else tuple(facts["clocks_mhz"]),
            counters=facts.get("counters", {}),
        )
        return Run(cell, parse_policy(facts["policy"]), float(facts["window_us"]), outcome)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, FicoError):
        raise FicoError(
            f"{path} is damaged or not of this version of Fico", "delete it; it is run again"
        ) from None


def read_header(folder: Path) -> Header:
    """What a folder's runs have in common. UsageError if it holds no results."""
    try:
        found = json.loads((folder / "run.json").read_text())
        if found["version"] != VERSION:
            raise UsageError(
                f"{folder} holds results of another version of Fico", "choose another folder"
            )
        found.setdefault("rounds", 1)
        return Header(**{field.name: found[field.name] for field in fields(Header)})
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} holds no results of 'fico bench run'", "give the folder of its --out"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{folder}/run.json is damaged", "choose another folder") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a folder. UsageError if there is none that can be read."""
    read_header(folder)
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        if not {"cells", "headline"} <= summary.keys():
            raise ValueError
    except (FileNotFoundError, ValueError, AttributeError):
        raise UsageError(
            f"{folder}/summary.json is missing or damaged", "run the suite again: it goes on"
        ) from None
    return summary


def read_tenants(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder's `tenants.parquet`. UsageError if it can't be read."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / "tenants.parquet").to_pylist()
    except (pa.ArrowException, OSError):
        raise UsageError(
            f"{folder}/tenants.parquet is missing or damaged", "run the suite again: it goes on"
        ) from None
    return rows


def write_json(path: Path, content: object, one_per_line: str = "") -> None:
    """Write a JSON file, in one step; of one list, each entry on a line of its own."""
    text = json.dumps(content, indent=1)
    if one_per_line:
        assert isinstance(content, dict)
        entries = ",\n".join(f"  {json.dumps(entry)}" for entry in content[one_per_line])
        around = json.dumps(content | {one_per_line: []}, indent=1)
        text = around.replace(f'"{one_per_line}": []', f'"{one_per_line}": [\n{entries}\n ]', 1)
    _replace(path, lambda draft: draft.write_text(text + "\n"))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, in one step."""
    _replace(path, lambda draft: pq.write_table(table, draft, compression="zstd"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _read_capacities(folder: Path) -> dict[str, list[float]]:
    try:
        capacities: dict[str, list[float]] = json.loads((folder / "capacity.json").read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise FicoError(f"{folder}/capacity.json is damaged", "run the suite anew") from None
    return capacities


def _provenance() -> dict[str, str]:
    return {"fico": version("fico"), "started": datetime.now(UTC).isoformat(timespec="seconds")}


def _locked(folder: Path) -> int:
    """A lock on the folder, which ends with the process."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"another 'fico bench' writes to {folder}", "wait for it, or choose another --out"
        ) from None
    return descriptor


def _models(cell: Cell) -> str:
    return "+".join(map(str, cell.models))


def _check_same(folder: Path, found: Header, wanted: Header) -> None:
    for name in ("device", "gpu", "suite", "seed", "requests", "rounds"):
        there, here = getattr(found, name), getattr(wanted, name)
        if there != here:
            raise UsageError(
                f"{folder} holds results with {name} {there}, not {here}", "choose another --out"
            )
