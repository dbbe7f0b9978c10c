"""Calibrate the device model against measured latencies, and say how far off it is.

What was measured, in benchmarks/results/h200: `latencies.json`, models alone, in pairs and fours,
under `mps` and `static`; `pairs.json`, pairs of models free, with one of them at high priority, on
disjoint partitions, and both. All in closed loop. Half of the cells with more than one tenant are
for calibration, the other half is held out. The kernels are those of DIR/MODEL-bsBATCH-graph.fico;
cells of models without a file there are left out.

    python benchmarks/calibrate_model.py --profiles DIR [--fit] [--cells] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import common
from fico import _native, sim
from fico.runtime import profile_file
from fico.runtime.traces import traces_of
from fico.sim.run import H200_SMS_PER_UNIT

UNITS = len(H200_SMS_PER_UNIT)
HIGH = -5
REQUESTS = 12
STEADY_PCT = 10.0
"""Where the quartiles of the latencies are nearer to each other, the median is taken for the mean.
The wait for the first request returned too early in some cells (the note in `latencies.json`),
which the mean of 20 requests shows and their median does not."""


COSTS = _native.SimCosts()
DEVICE = _native.DeviceSettings()


@dataclass(frozen=True, slots=True)
class Settings:
    """Those of native/device/settings.hpp, as they are built in."""

    overlap: float = DEVICE.overlap
    dense_from: float = DEVICE.dense_from
    shared_gap_us: float = COSTS.shared_gap_us
    turn_us: float = COSTS.turn_us
    activity_power: float = DEVICE.activity_power
    compute: float = DEVICE.compute
    memory: float = DEVICE.memory
    l2: float = DEVICE.l2


TRIED = {
    "overlap": (0.0, 0.1, 0.2, 0.3, 0.5),
    "dense_from": (0.0, 0.1, 0.33, 0.5, 0.7, 2.0),
    "shared_gap_us": (0.0, 0.1, 0.2, 0.35, 0.5, 0.7),
    "turn_us": (0.0, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.6, 2.0),
    "activity_power": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "compute": (0.0, 0.3, 0.6, 1.0, 1.5),
    "memory": (0.0, 0.3, 0.6, 0.8, 1.0, 1.3),
    "l2": (0.0, 0.25, 0.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of a cell, and how long its requests took on average."""

    model: str
    batch: int
    units: tuple[int, int]
    level: int
    measured_ms: float

    @property
    def name(self) -> str:
        return f"{self.model}-bs{self.batch}"


@dataclass(frozen=True, slots=True)
class Cell:
    """Tenants that were measured at the same time."""

    source: str
    mode: str
    tenants: tuple[Tenant, ...]

    @property
    def name(self) -> str:
        """Without the mode: all modes of the same tenants are in the same half."""
        return "+".join(tenant.name for tenant in self.tenants)

    @property
    def held_out(self) -> bool:
        """Half of the cells, by a hash of what was measured."""
        key = self.name
        if self.source == "pairs":  # few pairs, on many partitions
            key += f" {self.mode} {[tenant.units for tenant in self.tenants]}"
        return hashlib.sha256(key.encode()).digest()[0] % 2 == 1


def latency_cells(rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Those of latencies.json in closed loop: rows of one cell follow each other."""
    cells = []
    closed = [row for row in rows if row["workload"] == "closed"]
    while closed:
        count = closed[0]["n"]
        cell, closed = closed[:count], closed[count:]
        assert [row["tenant"] for row in cell] == list(range(count))
        mode = cell[0]["mode"] if count > 1 else "alone"
        tenants = []
        first = 0
        for row, model, batch, units in zip(
            cell, cell[0]["models"], cell[0]["batches"], cell[0]["units"], strict=True
        ):
            steady = row["spread_pct"] < STEADY_PCT
            own = (0, UNITS) if mode == "mps" else (first, first + units)
            first += units
            measured_ms = row["median_ms" if steady else "mean_ms"]
            tenants.append(Tenant(model, batch, own, 0, measured_ms))
        cells.append(Cell("latencies", mode, tuple(tenants)))
    return cells


def alone_cells(rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Those of pairs.json of one model. On some of their partitions is the last unit, whose 12 SMs
    profiles have not seen but as a part of all units."""
    cells = []
    for row in rows:
        units, odd = divmod(row["sms"], 8)
        on_last = odd and units < UNITS
        own = (UNITS - units, UNITS) if on_last else (0, units)
        tenant = Tenant(row["model"], row["batch"], own, 0, row["ms"])
        cells.append(Cell("pairs", "alone-last" if on_last else "alone", (tenant,)))
    return cells


def pair_cells(rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Those of pairs.json. Who has the 4 SMs that belong to no group of 8 has the last unit."""
    cells = []
    for row in rows:
        split = row["b_sms"] < sum(H200_SMS_PER_UNIT)
        a = b = (0, UNITS)
        if split:
            border = UNITS - (row["b_sms"] - 4) // 8 if row["b_sms"] % 8 else row["b_sms"] // 8
            a, b = ((0, border), (border, UNITS))[:: 1 if row["b_sms"] % 8 else -1]
        if row["a_high"]:
            a = (0, UNITS)
        mode = ("high-confined" if split else "high") if row["a_high"] else "split"
        cells.append(
            Cell(
                "pairs",
                mode if split or row["a_high"] else "mps",
                (
                    Tenant(row["a"], row["a_batch"], a, HIGH if row["a_high"] else 0, row["a_ms"]),
                    Tenant(row["b"], row["b_batch"], b, 0, row["b_ms"]),
                ),
            )
        )
    return cells


@dataclass(frozen=True, slots=True)
class Fixed:
    """The policy of a cell: everybody has its units and its priority."""

    tenants: tuple[Tenant, ...]

    def decide(self, view: _native.View) -> _native.Grant:
        tenant = self.tenants[view.self]
        return _native.Grant(tenant.units, tenant.level, span_us=1e300)


@cache
def traces(file: Path) -> list[_native.SimTrace]:
    """The most common kind of request of a profile."""
    profile = profile_file.load(file)
    requests = [trace.requests for trace in profile.traces]
    return [traces_of(profile)[requests.index(max(requests))]]


@dataclass(frozen=True, slots=True)
class Model:
    """The simulator over the profiles of a folder."""

    profiles: Path

    def file(self, tenant: Tenant) -> Path:
        return self.profiles / f"{tenant.name}-graph.fico"

    def has(self, cell: Cell) -> bool:
        """Whether there are profiles for all of its tenants."""
        return all(self.file(tenant).exists() for tenant in cell.tenants)

    def predict(self, cell: Cell, settings: Settings) -> list[float]:
        """Mean latency of each tenant in ms, of requests that begin when all have ended one."""
        programs = [traces(self.file(tenant)) for tenant in cell.tenants]
        of_model = asdict(settings)
        gaps = {name: of_model.pop(name) for name in ("shared_gap_us", "turn_us")}
        result = sim.simulate(
            [sim.Tenant(of, 1 / len(programs), requests=REQUESTS) for of in programs],
            Fixed(cell.tenants),
            # Launches were hidden behind the request before.
            costs=_native.SimCosts(request_us=0, **gaps),
            device=_native.DeviceSettings(**of_model),
        )
        all_run_us = max(tenant.end_us[0] for tenant in result.tenants)
        return [
            statistics.fmean((tenant.end_us - tenant.start_us)[tenant.start_us >= all_run_us]) / 1e3
            for tenant in result.tenants
        ]

    def predict_all(self, cells: Sequence[Cell], settings: Settings) -> list[list[float]]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda cell: self.predict(cell, settings), cells))


def errors(cells: Sequence[Cell], predicted: Sequence[Sequence[float]]) -> list[float]:
    """Predicted over measured, less 1, for all tenants of all cells."""
    return [
        ms / tenant.measured_ms - 1
        for cell, found in zip(cells, predicted, strict=True)
        for ms, tenant in zip(found, cell.tenants, strict=True)
    ]


def loss(model: Model, cells: Sequence[Cell], settings: Settings) -> float:
    found = errors(cells, model.predict_all(cells, settings))
    return statistics.fmean(abs(math.log1p(error)) for error in found)


def fit(model: Model, cells: Sequence[Cell], settings: Settings) -> Settings:
    """The best of TRIED, one setting after the other until nothing changes."""
    best = loss(model, cells, settings)
    changed = True
    while changed:
        changed = False
        for name, values in TRIED.items():
            for value in values:
                tried = replace(settings, **{name: value})
                found = loss(model, cells, tried)
                if found < best - 1e-6:
                    settings, best, changed = tried, found, True
        print(f"{best:.4f} {settings}", flush=True)
    return settings


def summary(cells: Sequence[Cell], predicted: Sequence[Sequence[float]]) -> None:
    """A line for each mode and half: median, mean and worst error, and bias."""
    kinds = sorted({(cell.source, cell.mode) for cell in cells})
    for source, mode in kinds:
        for held_out in (False, True):
            chosen = [
                (cell, found)
                for cell, found in zip(cells, predicted, strict=True)
                if (cell.source, cell.mode, cell.held_out) == (source, mode, held_out)
            ]
            if not chosen:
                continue
            found = errors([cell for cell, _ in chosen], [ms for _, ms in chosen])
            sizes = [abs(error) for error in found]
            print(
                f"{source:9} {mode:13} {'held out' if held_out else 'fitted':8}"
                f" {len(chosen):3} cells: median {100 * statistics.median(sizes):5.1f}%"
                f" mean {100 * statistics.fmean(sizes):5.1f}%"
                f" worst {100 * max(sizes):5.1f}% bias {100 * statistics.median(found):+5.1f}%"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profiles", type=Path, required=True, help="folder with the profiles")
    parser.add_argument("--fit", action="store_true", help="look for better settings")
    parser.add_argument("--only", default="", help="source and modes: latencies:mps,pairs:high")
    parser.add_argument("--cells", action="store_true", help="print every cell")
    parser.add_argument("--out", type=Path, help="write the cells as JSON")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=float, default=field.default)
    options = parser.parse_args()
    latencies = json.loads((common.RESULTS / "latencies.json").read_text())
    pairs = json.loads((common.RESULTS / "pairs.json").read_text())
    model = Model(options.profiles)
    cells = latency_cells(latencies["rows"])
    cells += [*alone_cells(pairs["alone"]), *pair_cells(pairs["rows"])]
    chosen = options.only.split(",")
    cells = [
        cell
        for cell in cells
        if model.has(cell) and (not options.only or f"{cell.source}:{cell.mode}" in chosen)
    ]
    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
    if options.fit:
        fitted = [cell for cell in cells if not cell.held_out and len(cell.tenants) > 1]
        settings = fit(model, fitted, settings)
    predicted = model.predict_all(cells, settings)
    summary(cells, predicted)
    if options.cells:
        for cell, found in zip(cells, predicted, strict=True):
            words = [
                f"{t.name}@{t.units[1] - t.units[0]} {t.measured_ms:.2f} {ms:.2f}"
                f" ({100 * ms / t.measured_ms - 100:+.0f}%)"
                for t, ms in zip(cell.tenants, found, strict=True)
            ]
            print(f"{cell.source[0]} {cell.mode:13} {'h' if cell.held_out else ' '}", *words)
    if options.out:
        document = {
            "gpu": latencies["gpu"],
            "driver": latencies["driver"],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": asdict(settings),
            "rows": [
                {
                    "source": cell.source,
                    "mode": cell.mode,
                    "held_out": cell.held_out,
                    **asdict(tenant),
                    "cell": cell.name,
                    "simulated_ms": round(ms, 4),
                }
                for cell, found in zip(cells, predicted, strict=True)
                for tenant, ms in zip(cell.tenants, found, strict=True)
            ],
        }
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
